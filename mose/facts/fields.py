"""Fields of other people's records: each is what it should be, or the record is refused."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mose.errors import RequestError
from mose.facts.requests import Probe

Record = Mapping[str, Any]

COLUMNS = "datasets.*.columns"
# How alike a misspelt field is to the one that was meant. Below, `location` passes for `relation`.
MISSPELT = 0.77
# So many letters of a name, and so many names, are said.
SHOWN_LETTERS, SHOWN_NAMES = 24, 6
NOT_TEXT = "a text field holds something else"


class Refused(Exception):
    """A record that cannot be edited; the message is the reason that is counted."""


def one(prompt: Any, answer: Any) -> tuple[Probe, ...]:
    """One probe, or none where there is no prompt."""
    return (Probe(prompt, first(answer)),) if prompt else ()


def first(answers: Any) -> str:
    """An answer given as text, or as a list of answers, or of answers with their aliases."""
    while isinstance(answers, list):
        if not answers:
            return ""
        answers = answers[0]
    return text(answers)


def text(value: Any) -> str:
    """A text field, without the spaces around it."""
    if not isinstance(value, str):
        raise Refused(NOT_TEXT)
    return value.strip()


def target(value: Any) -> str:
    """A target, which must not be empty."""
    if not text(value):
        raise Refused("empty target_new")
    return text(value)


def with_gap(prompt: Any, subject: Any) -> str:
    """The prompt with its one mention of the subject replaced by `{}`."""
    prompt, subject = text(prompt), text(subject)
    if not subject or prompt.count(subject) == 0:
        raise Refused("subject not in the prompt")
    if prompt.count(subject) > 1:
        raise Refused("subject more than once in the prompt")
    if "{}" in prompt:
        raise Refused("{} in the prompt beside its subject")
    return prompt.replace(subject, "{}")


def texts(values: Any) -> tuple[str, ...]:
    """Texts given as a list, as one text, or not at all."""
    if values is None or values == "":
        return ()
    given = values if isinstance(values, list | tuple) else [values]
    return tuple(text(value) for value in given)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that differs from this one in case or spacing, or is spelt most like it.

    cutoff: the ratio of `difflib` from which two spellings are alike; names of up to three letters
    must agree. "" where there is none.
    """
    spelling = _spelling(name)
    by_spelling = {_spelling(one): one for one in known}
    candidates = [one for one in by_spelling if len(one) > 3 or one == spelling]
    match = difflib.get_close_matches(spelling, candidates, 1, cutoff)
    return by_spelling[match[0]] if match else ""


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def shown(name: str) -> str:
    """A field's name as a message can hold it: one short line of valid text."""
    line = " ".join(name.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= SHOWN_LETTERS else line[: SHOWN_LETTERS - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """Fields' names, separated by commas; of many, the first and how many more there are."""
    lines = [shown(name) for name in names]
    more = f" and {len(lines) - SHOWN_NAMES} more" if len(lines) > SHOWN_NAMES else ""
    return (", ".join(lines[:SHOWN_NAMES]) or "none") + more


def renamed(
    records: Sequence[Any], columns: Mapping[str, str], known: Iterable[str], source: str
) -> list[Any]:
    """Records whose fields `columns`, {our name: the file's name}, names as we do.

    The file's own field of our name gives way. known: our names. source: the file, for errors.
    Raises RequestError for a name that is not ours, or that no record has.
    """
    known = list(known)
    given = dict.fromkeys(
        name for record in records if isinstance(record, Mapping) for name in record
    )
    for ours, theirs in columns.items():
        if ours not in known:
            close = closest(ours, known)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
            raise RequestError(f"{COLUMNS}: unknown field {ours!r}; {hint}")
        if theirs not in given:
            close = closest(theirs, given)
            hint = f"; did you mean {shown(close)!r}?" if close else ""
            raise RequestError(
                f"{COLUMNS}.{ours}: {source} has no field {theirs!r}{hint}; it has {listed(given)}"
            )
    return [_renamed(r, columns) if isinstance(r, Mapping) else r for r in records]


def _renamed(record: Record, columns: Mapping[str, str]) -> Record:
    taken = {*columns, *columns.values()}
    kept = {name: value for name, value in record.items() if name not in taken}
    return kept | {ours: record[theirs] for ours, theirs in columns.items() if theirs in record}


def ignored(record: Record, known: Iterable[str], where: str) -> list[str]:
    """Names, as shown, of the fields that a form does not know.

    known: the form's. where: names the record in errors.
    Raises RequestError for a field that is spelt almost like a known one that the record lacks.
    """
    absent = [name for name in known if name not in record]
    names = [name for name in record if name not in known]
    for name in names:
        close = closest(name, absent, MISSPELT)
        if close:
            raise RequestError(
                f"{where}: unknown field {shown(name)!r}; did you mean {close!r}? "
                f"Rename it, or set {COLUMNS}: {{{close}: {shown(name)}}}"
            )
    return [shown(name) for name in names]


def suggested(record: Record, missing: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """Of fields that a record lacks, those that it seems to have by another name: {ours: its}.

    known: all our names; a field that is one of them by its letters is not offered as another.
    """
    names = {_spelling(name): name for name in record}
    pairs = {ours: names.pop(_spelling(ours)) for ours in missing if _spelling(ours) in names}
    rest = [name for spelling, name in names.items() if spelling not in known]
    for ours in missing:
        close = closest(ours, rest) if ours not in pairs else ""
        if close:
            pairs[ours] = close
            rest.remove(close)
    return pairs
