"""Records of a task: from local files, the hub, or the data sets of the package."""

import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mose.errors import RequestError
from mose.facts.drawing import part_of
from mose.facts.readers import read_facts_of
from mose.storage import files, hub
from mose.storage import records as storage

Record = Mapping[str, Any]
FALSE_CHOICES = 3


def read_records(source: Mapping[str, str], where: str) -> tuple[list[Record], str]:
    """All records of a source, and their digest; where: names the task in errors.

    Raises RequestError for a file that is not a list of records.
    """
    if "file" in source:
        path = Path(source["file"])
        records = storage.read(path, f"{where}.source.file")
        if not all(isinstance(record, Mapping) for record in records):
            raise RequestError(f"{path}: expected a list of objects with named fields")
        return records, files.sha256_of_file(path)
    if "builtin" in source:
        records = builtin(source["builtin"], source.get("part", "tuning"))
    else:
        records = list(hub.records({"split": "validation", **source}, f"{where}.source.hub"))
    return records, files.digest_of(records)


def read_text(source: Mapping[str, str], field: str, where: str) -> tuple[str, str]:
    """The text of a source, and its digest: a text file, or records joined by empty lines."""
    path = Path(source.get("file", ""))
    if "file" in source and not storage.is_records(path):
        return storage.read_text(path, f"{where}.source.file"), files.sha256_of_file(path)
    records, digest = read_records(source, where)
    missing = [number for number, record in enumerate(records) if field not in record]
    if missing:
        raise RequestError(f"{where}: record {missing[0]} has no field {field!r}")
    return "\n\n".join(str(record[field]) for record in records), digest


def builtin(name: str, part: str = "tuning") -> list[Record]:
    """A data set of the package: "sentiment", "inference" or "facts".

    part: for "facts", the part of the subjects (`mose.facts.drawing.part_of`).
    """
    if name == "facts":
        return _facts(part)
    with resources.as_file(resources.files("mose") / "data" / "tasks" / f"{name}.csv") as path:
        return storage.read(path, "source.builtin")


def _facts(part: str) -> list[Record]:
    """Facts of the built-in table as multiple choice: the true object and up to three false ones
    of its relation. A fact's choices depend on the table and the fact's id only."""
    facts, _ = read_facts_of("builtin")
    objects: dict[str, set[str]] = {}
    for fact in facts:
        objects.setdefault(fact.relation, set()).add(fact.target_true)
    records: list[Record] = []
    for fact in facts:
        if part_of(fact.subject) != part:
            continue
        generator = random.Random(fact.id)
        false = sorted(objects[fact.relation] - {fact.target_true, *fact.also})
        choices = [fact.target_true, *generator.sample(false, min(FALSE_CHOICES, len(false)))]
        generator.shuffle(choices)
        records.append(
            {
                "id": fact.id,
                "text": fact.text,
                "choices": choices,
                "label": choices.index(fact.target_true),
            }
        )
    return records
