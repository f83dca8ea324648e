"""Fields of other people's records: each is what it should be, or the record is refused."""

from collections.abc import Mapping
from typing import Any

from mose.facts.requests import Probe

Record = Mapping[str, Any]


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
