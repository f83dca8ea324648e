"""Items of a task: prompts and right answers, drawn once from its records.

Every checkpoint of every method answers the same items, so that models are compared item by item.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mose.errors import RequestError
from mose.evaluation.tasks.definition import FIELD, Task, parse_task
from mose.evaluation.tasks.records import Record, read_records, read_text
from mose.storage import files


@dataclass(frozen=True)
class Item:
    """One question. item: place in the source.

    choices, label: for kind choice. answers: the right texts (generate), or the scored one.
    """

    item: int
    prompt: str
    choices: tuple[str, ...] = ()
    label: int = -1
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A task with its items, or its text (perplexity); digest: of the source."""

    name: str
    task: Task
    digest: str
    items: tuple[Item, ...] = ()
    text: str = ""


def prepare(name: str, task: Task) -> Prepared:
    """Read a task's source and draw its items. name: its label in the config, for errors.

    Raises RequestError for a source without records or with unusable ones.
    """
    where = f"tasks.{name}"
    if task.kind == "harness":
        return Prepared(name, task, "")
    if task.kind == "perplexity":
        text, digest = read_text(task.source, task.field, where)
        return Prepared(name, task, digest, text=text)
    records, digest = read_records(task.source, where)
    if not records:
        raise RequestError(f"{where}: the source holds no record")
    drawn = draw(len(records), task.samples, task.seed)
    shots = [
        shot(task, example, f"{where}.examples.{i}") for i, example in enumerate(task.examples)
    ]
    head = "\n\n".join(filter(None, [task.description, *shots]))
    items = tuple(item_of(task, records[i], i, head, f"{where}, record {i}") for i in drawn)
    return Prepared(name, task, digest, items)


def draw(count: int, samples: int, seed: int) -> list[int]:
    """`samples` of `count` places, ascending; samples of the same seed are nested."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return sorted(order[:samples])


def fill(template: str, record: Record, where: str) -> str:
    """`template` with fields in braces replaced from the record. Raises RequestError."""
    missing = [name for name in FIELD.findall(template) if name not in record]
    if missing:
        raise RequestError(
            f"{where}: no field {missing[0]!r}; the record has {', '.join(map(str, record))}"
        )
    return FIELD.sub(lambda match: str(record[match.group(1)]), template)


def shot(task: Task, record: Record, where: str) -> str:
    """The text of an example with its right answer."""
    item = item_of(task, record, 0, "", where)
    answer = item.choices[item.label] if task.kind == "choice" else item.answers[0]
    return f"{item.prompt} {answer}"


def item_of(task: Task, record: Record, place: int, head: str, where: str) -> Item:
    """The item of a record; head: text before its prompt; place: in the source.

    Raises RequestError for a record that does not fit the task.
    """
    if task.last_word and task.answer not in record and task.last_word in record:
        context, _, word = str(record[task.last_word]).strip().rpartition(" ")
        record = {**record, "context": context, task.answer: word}
    # The space before the answer is added with the answer.
    prompt = fill(task.prompt, record, where).rstrip()
    prompt = f"{head}\n\n{prompt}" if head else prompt
    if task.kind != "choice":
        return Item(place, prompt, answers=_answers(task, record, where))
    if isinstance(task.choices, str):
        choices = record.get(task.choices)
        if not isinstance(choices, list | tuple) or not choices:
            raise RequestError(f"{where}: field {task.choices!r} holds no list of choices")
        choices = tuple(map(str, choices))
    else:
        choices = tuple(fill(choice, record, where) for choice in task.choices)
    return Item(place, prompt, choices, _label(task, record, len(choices), where))


def _answers(task: Task, record: Record, where: str) -> tuple[str, ...]:
    value = record.get(task.answer)
    answers = tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value or ""),)
    if not answers or not all(answer.strip() for answer in answers):
        raise RequestError(f"{where}: field {task.answer!r} holds no answer: {value!r}")
    if task.kind == "continuation" and len(answers) != 1:
        raise RequestError(f"{where}: field {task.answer!r} holds {len(answers)} answers, not one")
    return tuple(answer.strip() for answer in answers)


def _label(task: Task, record: Record, count: int, where: str) -> int:
    value = record.get(task.label)
    allowed = [str(label) for label in task.labels or range(count)]
    if str(value) not in allowed or allowed.index(str(value)) >= count:
        expected = ", ".join(allowed[:count])
        raise RequestError(f"{where}: {task.label!r} is {value!r}, expected one of {expected}")
    return allowed.index(str(value))


def write(path: str | Path, prepared: Prepared) -> None:
    """Write a prepared task as JSON."""
    files.write_json(path, asdict(prepared))


def read(path: str | Path) -> Prepared:
    """Read a prepared task that `write` wrote. Raises RequestError for other files."""
    stored: Mapping[str, Any] = files.read_json(path)
    try:
        task = parse_task(stored["task"], str(path))
        rows: Sequence[Mapping[str, Any]] = stored["items"]
        fields: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows
        ]
        items = tuple(Item(**values) for values in fields)
        return Prepared(stored["name"], task, stored["digest"], items, stored["text"])
    except (KeyError, TypeError) as error:
        raise RequestError(f"{path}: not a prepared task ({error}); delete it") from None
