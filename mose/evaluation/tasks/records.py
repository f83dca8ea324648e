"""Where a task's records come from: local files, the hub, and the sets of the package."""

import csv
import json
import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from mose.errors import RequestError
from mose.facts.drawing import part_of
from mose.facts.readers import read_facts_of
from mose.storage import files, hub

Record = Mapping[str, Any]
FALSE_CHOICES = 3


def read_records(source: Mapping[str, str], where: str) -> tuple[list[Record], str]:
    """All records of a source, and a digest of what was read.

    where: names the task in errors.
    """
    if "file" in source:
        path = Path(source["file"])
        if not path.is_file():
            raise RequestError(f"{where}.source.file: {path}: no such file")
        return _read_file(path), files.sha256_of_file(path)
    if "builtin" in source:
        records = builtin(source["builtin"], source.get("part", "tuning"))
    else:
        records = list(hub.records({"split": "validation", **source}, f"{where}.source.hub"))
    return records, files.digest_of(records)


def read_text(source: Mapping[str, str], field: str, where: str) -> tuple[str, str]:
    """The text of a source, and its digest: a file as it stands, records joined by empty lines."""
    path = Path(source.get("file", ""))
    if "file" in source and path.suffix not in READERS:
        if not path.is_file():
            raise RequestError(f"{where}.source.file: {path}: no such file")
        try:
            return path.read_bytes().decode("utf-8"), files.sha256_of_file(path)
        except UnicodeDecodeError as error:
            raise RequestError(f"{path}: not UTF-8 text ({error})") from None
    records, digest = read_records(source, where)
    missing = [number for number, record in enumerate(records) if field not in record]
    if missing:
        raise RequestError(f"{where}: record {missing[0]} has no field {field!r}")
    return "\n\n".join(str(record[field]) for record in records), digest


def _read_file(path: Path) -> list[Record]:
    if path.suffix not in READERS:
        known = ", ".join(READERS)
        raise RequestError(f"{path}: records are read from files that end in {known}")
    try:
        records = READERS[path.suffix](path)
    except (ValueError, OSError, csv.Error) as error:
        raise RequestError(f"{path}: cannot be read ({error})") from None
    wrong = [n for n, record in enumerate(records) if not isinstance(record, Mapping)]
    if wrong or not isinstance(records, list):
        raise RequestError(f"{path}: expected a list of objects with named fields")
    return records


def _json(path: Path) -> list[Record]:
    return json.loads(path.read_text(encoding="utf-8"))


def _json_lines(path: Path) -> list[Record]:
    # Lines end in \n alone: texts may hold the other characters that end a line for Python.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]


def _comma(path: Path) -> list[Record]:
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def _tab(path: Path) -> list[Record]:
    # GLUE's files hold bare quotation marks.
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    return frame.to_dict("records")


def _parquet(path: Path) -> list[Record]:
    # By Arrow's own types: pandas would turn lists into arrays and whole numbers into floats.
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()


READERS = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _comma,
    ".tsv": _tab,
    ".parquet": _parquet,
}


def builtin(name: str, part: str = "tuning") -> list[Record]:
    """A set that comes with the package: "sentiment", "inference", or "facts".

    part: of the subjects of the built-in table, for "facts" (`mose.facts.drawing.part_of`).
    """
    if name == "facts":
        return _facts(part)
    text = resources.files("mose") / "data" / "tasks" / f"{name}.csv"
    return list(csv.DictReader(text.read_text(encoding="utf-8").splitlines()))


def _facts(part: str) -> list[Record]:
    """Facts of the built-in table as multiple choice: the true object among four of its relation.

    Whatever else the table is used for, the same facts have the same choices.
    """
    facts, _ = read_facts_of("builtin")
    objects: dict[str, set[str]] = {}
    for fact in facts:
        objects.setdefault(fact.relation, set()).add(fact.target_true)
    records: list[Record] = []
    for fact in facts:
        if part_of(fact.subject) != part:
            continue
        own = random.Random(fact.id)
        false = sorted(objects[fact.relation] - {fact.target_true, *fact.also})
        choices = [fact.target_true, *own.sample(false, min(FALSE_CHOICES, len(false)))]
        own.shuffle(choices)
        records.append(
            {
                "id": fact.id,
                "text": fact.text,
                "choices": choices,
                "label": choices.index(fact.target_true),
            }
        )
    return records
