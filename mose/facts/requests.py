"""Edit requests, and the facts they are drawn from.

A fact is something true (or, in data sets that bring their own false targets, a ready-made
request): subject, prompt, true object. A request adds the new object, paraphrases and locality
prompts. Which requests there are, and their order, depends on the data set and the seed only,
never on how many edits are asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mose.errors import RequestError
from mose.facts.drawing import _objects, part_of
from mose.storage import files
from mose.storage.records import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Probe:
    """A prompt and what should follow it after an edit; kind: what a data set calls it."""

    prompt: str
    target: str
    kind: str = ""


@dataclass(frozen=True)
class EditRequest:
    """One fact to rewrite.

    prompt: has exactly one `{}`, for the subject. paraphrases: full prompts without `{}`.
    locality: what should stay as it is. portability: what should follow from the edit.
    instances: questions whether something belongs to the edited concept. generation: prompts that
    are continued freely. references: texts about the new object that these are compared with.
    """

    id: str
    subject: str
    prompt: str
    target_new: str
    target_true: str = ""
    relation: str = ""
    paraphrases: tuple[str, ...] = ()
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    instances: tuple[str, ...] = ()
    generation: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.subject, self.id)
        if not self.target_new.strip():
            raise RequestError(f"request {self.id}: target_new is empty")

    @property
    def text(self) -> str:
        """The edit prompt with its subject in place."""
        return self.prompt.replace("{}", self.subject)


@dataclass(frozen=True)
class Fact:
    """A true statement that a request can be drawn from.

    prompt: has one `{}`. also: other objects that are as true. target_new, locality: given by
    data sets that bring them; otherwise drawn.
    known: whether the model says the object by itself; None where that was not asked.
    """

    id: str
    subject: str
    prompt: str
    target_true: str
    relation: str = ""
    also: tuple[str, ...] = ()
    paraphrases: tuple[str, ...] = ()
    target_new: str = ""
    locality: tuple[Probe, ...] = ()
    portability: tuple[Probe, ...] = ()
    instances: tuple[str, ...] = ()
    generation: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    known: bool | None = field(default=None)

    def __post_init__(self) -> None:
        check_prompt(self.prompt, self.subject, self.id)

    @property
    def text(self) -> str:
        """The prompt with its subject in place."""
        return self.prompt.replace("{}", self.subject)


def check_prompt(prompt: str, subject: str, where: str) -> None:
    """Refuse an empty subject, and a prompt that does not hold exactly one `{}`."""
    if not subject.strip():
        raise RequestError(f"request {where}: subject is empty")
    if prompt.count("{}") != 1:
        raise RequestError(
            f"request {where}: prompt {prompt!r} needs exactly one {{}} for the subject"
        )


PROBES = ("locality", "portability")
# Fields without which an edit is the same edit.
MEASURED_ONLY = ("instances", "generation", "references")


def _probes(values: Sequence[Mapping[str, str]]) -> tuple[Probe, ...]:
    return tuple(Probe(**value) for value in values)


def _from_record(kind: type, record: Mapping[str, Any], where: str) -> Any:
    try:
        values = {
            k: _probes(v) if k in PROBES else tuple(v) if isinstance(v, list) else v
            for k, v in record.items()
        }
        return kind(**values)
    except TypeError as error:
        raise RequestError(f"{where}: not a record of this project ({error})") from None


def read_requests(path: str | Path) -> list[EditRequest]:
    """Read requests in their fixed order (JSON lines)."""
    return [_from_record(EditRequest, record, str(path)) for record in read_jsonl(path)]


def read_facts(path: str | Path) -> list[Fact]:
    """Read facts (JSON lines)."""
    return [_from_record(Fact, record, str(path)) for record in read_jsonl(path)]


def write_records(path: str | Path, records: Sequence[EditRequest] | Sequence[Fact]) -> None:
    """Write requests or facts as JSON lines; what is only measured where there is any."""
    write_jsonl(
        path,
        [
            {k: v for k, v in asdict(record).items() if v or k not in MEASURED_ONLY}
            for record in records
        ],
    )


def digest_of_requests(requests: Sequence[EditRequest]) -> str:
    """Digest of some requests in their order, without what is only measured."""
    return files.digest_of(
        [
            {k: v for k, v in asdict(request).items() if k not in MEASURED_ONLY}
            for request in requests
        ]
    )


# By key of a data set: what it did to the facts that it took away, and how to have them back.
SET_ASIDE = {
    "known_only": "unknown to the model (datasets.*.known_only: false edits them too)",
    "part": "of the other part (datasets.*.part: all edits them too)",
    "target_new": "without a false object of their relation (give target_new)",
    "held_out": "kept aside for locality prompts (lower datasets.*.held_out, or give locality)",
}


def set_aside(
    facts: Sequence[Fact], drawn: Sequence[EditRequest], known_only: bool, part: str
) -> dict[str, int]:
    """How many facts did not become requests, by the key of SET_ASIDE that took them away.

    drawn: what `draw_requests` made of the facts with this known_only and part. A fact that
    several keys take away counts for the first.
    """
    edited = {request.id for request in drawn}
    objects = _objects(facts)
    counts: Counter[str] = Counter()
    for fact in facts:
        if fact.id in edited:
            continue
        if known_only and not fact.known:
            counts["known_only"] += 1
        elif part not in ("all", part_of(fact.subject)):
            counts["part"] += 1
        elif not fact.target_new and not _false_objects(fact, objects[fact.relation]):
            counts["target_new"] += 1
        else:
            counts["held_out"] += 1
    return {key: counts[key] for key in SET_ASIDE if counts[key]}


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {SET_ASIDE[key]}" for key, count in counts.items())


def _false_objects(fact: Fact, objects: Sequence[str]) -> list[str]:
    true = {fact.target_true, *fact.also}
    return [candidate for candidate in objects if candidate not in true]
