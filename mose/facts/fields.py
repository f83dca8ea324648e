"""Checked reading of the fields of data set records; an invalid field refuses its record."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mose.errors import RequestError
from mose.facts.requests import Probe

Record = Mapping[str, Any]

COLUMNS = "datasets.*.columns"
# Similarity from which an unknown field counts as misspelt. At lower values, `location` would be
# taken for `relation`.
MISSPELT = 0.77
# Most letters of a field name, and most names, in a message.
SHOWN_LETTERS, SHOWN_NAMES = 24, 6
# Kinds of values in messages.
KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    type(None): "nothing",
}


class Refused(Exception):
    """A record cannot become a fact. The message is the reason, by which reports count."""


def kind_of(value: Any) -> str:
    """The kind of a value, for messages."""
    return KINDS.get(type(value), type(value).__name__)


def not_text(name: str, value: Any) -> Refused:
    """The refusal of a value of the field `name` that should be text."""
    return Refused(f"{name}: found {kind_of(value)}, expected text")


def optional_probe(prompt: Any, answer: Any, name: str) -> tuple[Probe, ...]:
    """One probe, or an empty tuple if there is no prompt. name: the answer's field."""
    return (Probe(prompt, first_answer(answer, name)),) if prompt else ()


def first_answer(answers: Any, name: str) -> str:
    """The first answer of a text, a list of answers, or a list of lists of aliases; "" if empty.

    name: the field, for the refusal."""
    while isinstance(answers, list):
        if not answers:
            return ""
        answers = answers[0]
    return text(answers, name)


def text(value: Any, name: str) -> str:
    """The value of the text field `name`, stripped. Raises Refused if it is not text."""
    if not isinstance(value, str):
        raise not_text(name, value)
    return value.strip()


def filled(value: Any, name: str) -> str:
    """The value of the text field `name`, stripped. Raises Refused if it is empty or not text."""
    stripped = text(value, name)
    if not stripped:
        raise Refused(f"empty {name}")
    return stripped


def with_placeholder(prompt: Any, subject: Any, name: str = "prompt") -> str:
    """The prompt with `{}` in place of the subject, which may have braces itself.

    name: the prompt's field. Raises Refused if the subject is not there once.
    """
    prompt, subject = text(prompt, name), filled(subject, "subject")
    if prompt.count(subject) == 0:
        if "{}" in prompt:
            raise Refused("{} in the prompt, where this form has the subject itself")
        raise Refused("subject not in the prompt")
    if prompt.count(subject) > 1:
        raise Refused("subject more than once in the prompt")
    if "{}" in prompt.replace(subject, ""):
        raise Refused("{} in the prompt beside its subject")
    return prompt.replace(subject, "{}")


def texts(values: Any, name: str) -> tuple[str, ...]:
    """Texts of a list or of one text; an empty tuple for None or "". name: the field."""
    if values is None or values == "":
        return ()
    as_list = values if isinstance(values, list | tuple) else [values]
    return tuple(text(value, name) for value in as_list)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The most similar known name, ignoring case and spacing; "" if there is none.

    cutoff: least similarity (`difflib`). Names of up to three letters must be equal.
    """
    spelling = _spelling(name)
    by_spelling = {_spelling(candidate): candidate for candidate in known}
    candidates = [other for other in by_spelling if len(other) > 3 or other == spelling]
    match = difflib.get_close_matches(spelling, candidates, 1, cutoff)
    return by_spelling[match[0]] if match else ""


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


def shown(name: str) -> str:
    """A field's name for a message: one line of at most SHOWN_LETTERS valid characters."""
    line = " ".join(name.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= SHOWN_LETTERS else line[: SHOWN_LETTERS - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """Field names joined by commas: the first SHOWN_NAMES, and the number of the others."""
    lines = [shown(name) for name in names]
    more = f" and {len(lines) - SHOWN_NAMES} more" if len(lines) > SHOWN_NAMES else ""
    return (", ".join(lines[:SHOWN_NAMES]) or "none") + more


def renamed(
    records: Sequence[Any], columns: Mapping[str, str], known: Iterable[str], source: str
) -> list[Any]:
    """Records with fields renamed by `columns`, {our name: the file's name}.

    A field of the file that already has our name is replaced. known: our names. source: the file,
    for errors.
    Raises RequestError for one of our names that is unknown, or a file's name that no record has.
    """
    known = list(known)
    present = dict.fromkeys(
        name for record in records if isinstance(record, Mapping) for name in record
    )
    for ours, theirs in columns.items():
        if ours not in known:
            close = closest(ours, known)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
            raise RequestError(f"{COLUMNS}: unknown field {ours!r}; {hint}")
        if theirs not in present:
            close = closest(theirs, present)
            hint = f"; did you mean {shown(close)!r}?" if close else ""
            raise RequestError(
                f"{COLUMNS}.{ours}: {source} has no field {theirs!r}{hint}; "
                f"it has {listed(present)}"
            )
    return [_renamed(r, columns) if isinstance(r, Mapping) else r for r in records]


def _renamed(record: Record, columns: Mapping[str, str]) -> Record:
    replaced = {*columns, *columns.values()}
    kept = {name: value for name, value in record.items() if name not in replaced}
    return kept | {ours: record[theirs] for ours, theirs in columns.items() if theirs in record}


def ignored(record: Record, known: Iterable[str], where: str) -> list[str]:
    """Names (as in messages) of the fields of a record that its form does not know.

    known: names of the form's fields. where: name of the record in errors.
    Raises RequestError for a likely misspelling of a known field that the record lacks.
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
    """For missing fields, fields of the record with a similar name: {our name: its name}.

    known: all our names. A field whose spelling is one of them is not suggested for another.
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
