"""Edit requests, and the facts they are drawn from.

A fact is something true (or, in data sets that bring their own false targets, a ready-made
request): subject, prompt, true object. A request adds the new object, paraphrases and locality
prompts. Which requests there are, and their order, depends on the data set and the seed only,
never on how many edits are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mose.errors import RequestError
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


def check_requests(requests: Sequence[EditRequest]) -> None:
    """Refuse what is no list of edit requests, or an empty one."""
    if not isinstance(requests, Sequence) or isinstance(requests, str):
        raise RequestError(
            f"requests: found {type(requests).__name__}, expected a list of EditRequest; "
            "put a single one into a list"
        )
    if not requests:
        raise RequestError(
            "requests: found none, expected one EditRequest or more; give what is to be edited"
        )
    for place, request in enumerate(requests):
        if not isinstance(request, EditRequest):
            raise RequestError(
                f"requests: found {type(request).__name__} at place {place}, expected an "
                "EditRequest; make one with id, subject, prompt and target_new"
            )


def check_templates(templates: Sequence[str]) -> None:
    """Refuse what is no list of context templates, or an empty one."""
    if not isinstance(templates, Sequence) or isinstance(templates, str):
        raise RequestError(
            f"templates: found {templates!r}, expected a list of texts with exactly one {{}} each; "
            "put a single one into a list"
        )
    if not templates:
        raise RequestError(
            "templates: found none, expected one or more, each with exactly one {} for the edit "
            'prompt; give at least the prompt by itself, ["{}"]'
        )
    for place, template in enumerate(templates):
        if not isinstance(template, str) or template.count("{}") != 1:
            raise RequestError(
                f"templates: found {template!r} at place {place}, expected exactly one {{}} for "
                "the edit prompt; correct it or leave it out"
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
