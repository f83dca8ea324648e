"""Edit requests, and the facts that they are drawn from.

A fact has a subject, a prompt and a true object, and possibly a new object and locality prompts of
its own. A request always has a new object (`mose.facts.drawing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mose.errors import RequestError
from mose.storage import files
from mose.storage.records import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Probe:
    """A prompt and the text expected after it in an edited model; kind: the data set's label."""

    prompt: str
    target: str
    kind: str = ""


@dataclass(frozen=True)
class EditRequest:
    """One fact to edit.

    prompt: with exactly one `{}` for the subject. paraphrases: full prompts without `{}`.
    locality: facts that the edit must not change. portability: consequences of the edit.
    instances: questions whether something belongs to the edited concept. generation: prompts for
    free continuation. references: texts about the new object, compared with the continuations.
    Raises RequestError for an invalid prompt, or an empty subject or target_new.
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
        """The prompt with the subject filled in."""
        return self.prompt.replace("{}", self.subject)


@dataclass(frozen=True)
class Fact:
    """A true statement from which a request can be drawn; further fields as in `EditRequest`.

    prompt: with one `{}`. also: other true objects. target_new, locality: those of the data set;
    drawn where empty.
    known: whether the unedited model predicts the object; None if not checked.
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
        """The prompt with the subject filled in."""
        return self.prompt.replace("{}", self.subject)


def check_prompt(prompt: str, subject: str, where: str) -> None:
    """Raise RequestError for an empty subject, or a prompt without exactly one `{}`."""
    if not subject.strip():
        raise RequestError(f"request {where}: subject is empty")
    if prompt.count("{}") != 1:
        raise RequestError(
            f"request {where}: prompt {prompt!r} needs exactly one {{}} for the subject"
        )


def check_requests(requests: Sequence[EditRequest]) -> None:
    """Raise RequestError unless `requests` is a non-empty list of edit requests."""
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


# What becomes of an earlier request of the same subject and prompt.
Repeated = Literal["replace", "keep", "refuse"]


def replaced_by(requests: Sequence[EditRequest] | Sequence[Fact]) -> dict[str, list[str]]:
    """Ids of the earlier requests of the same subject and prompt, by the id of the last one."""
    same: dict[tuple[str, str], list[str]] = {}
    for request in requests:
        same.setdefault((request.subject, request.prompt), []).append(request.id)
    return {ids[-1]: ids[:-1] for ids in same.values() if len(ids) > 1}


def check_prompts(prompts: Sequence[str]) -> None:
    """Raise RequestError unless `prompts` is a non-empty list of texts that are not blank."""
    if not prompts or not all(isinstance(one, str) and one.strip() for one in prompts):
        raise RequestError("prompt: found nothing to continue; give a text or a list of texts")


def check_templates(templates: Sequence[str]) -> None:
    """Raise RequestError unless `templates` is a non-empty list of texts with one `{}` each."""
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
# Fields that measurements use but edits do not.
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


def requests_from(records: Sequence[Mapping[str, Any]], where: str) -> list[EditRequest]:
    """Requests of their records (`records_of`). where: name in errors (RequestError)."""
    return [_from_record(EditRequest, record, where) for record in records]


def read_requests(path: str | Path) -> list[EditRequest]:
    """Read requests in their fixed order (JSON lines)."""
    return requests_from(read_jsonl(path), str(path))


def read_facts(path: str | Path) -> list[Fact]:
    """Read facts (JSON lines)."""
    return [_from_record(Fact, record, str(path)) for record in read_jsonl(path)]


def records_of(facts: Sequence[EditRequest] | Sequence[Fact]) -> list[dict[str, Any]]:
    """Requests or facts as records; empty MEASURED_ONLY fields are left out."""
    return [
        {k: v for k, v in asdict(fact).items() if v or k not in MEASURED_ONLY} for fact in facts
    ]


def write_records(path: str | Path, records: Sequence[EditRequest] | Sequence[Fact]) -> None:
    """Write requests or facts as JSON lines (`records_of`)."""
    write_jsonl(path, records_of(records))


def digest_of_requests(requests: Sequence[EditRequest]) -> str:
    """Digest of requests in their order, without the MEASURED_ONLY fields."""
    return files.digest_of(
        [
            {k: v for k, v in asdict(request).items() if k not in MEASURED_ONLY}
            for request in requests
        ]
    )
