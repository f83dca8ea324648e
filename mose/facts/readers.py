"""Readers: files of other people's edit records, and the built-in table, as facts.

Nothing is dropped in silence: the report counts what was read, kept and refused, and why. The
forms of single records are in `mose.facts.forms`.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mose.errors import RequestError
from mose.facts.fields import Record, Refused
from mose.facts.forms import (
    EXPERIMENTS,
    FORMS,
    forms_of,
    prompts_of,
    read_record,
    unroll,
    without_blanks,
)
from mose.facts.requests import Fact
from mose.storage import files, hub


@dataclass
class Report:
    """What became of the records of a file.

    left_out: paraphrases, locality prompts and the like that are empty or without an answer.
    prompts: how many of each the kept records have.
    """

    read: int = 0
    kept: int = 0
    left_out: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, reason: str, example: str) -> None:
        """Count a refused record; the first five of each reason are remembered."""
        self.refused[reason] += 1
        if len(self.examples.setdefault(reason, [])) < 5:
            self.examples[reason].append(example)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "read": self.read,
            "kept": self.kept,
            "prompts": dict(self.prompts),
            "prompts_left_out": self.left_out,
            "refused": dict(self.refused),
            "examples": self.examples,
        }

    def __str__(self) -> str:
        lines = [f"{self.read} records read, {self.kept} kept"]
        lines += [f"  {n} refused: {why}" for why, n in sorted(self.refused.items())]
        if self.left_out:
            lines.append(f"  {self.left_out} further prompts left out: empty, or without an answer")
        return "\n".join(lines)


def read_facts_of(
    source: str | Mapping[str, Any], form: str | None = None, conflicts: str = "all"
) -> tuple[list[Fact], Report]:
    """Facts of a data source: "builtin", the path of a JSON, JSON lines, CSV or Parquet file, or a
    data set of the hub (`mose.storage.hub.records`).

    form: a name of `mose.facts.forms.FORMS`; without one each record's fields tell it.
    conflicts: what becomes of facts that give one subject and prompt different new objects: "all"
    are kept, only the "last" is, or the later are refused ("refuse").
    """
    if form is not None and form not in FORMS:
        raise RequestError(f"datasets.*.form: found {form}, expected one of {', '.join(FORMS)}")
    report = Report()
    if source == "builtin":
        facts = _builtin()
        report.read = len(facts)
    elif isinstance(source, str):
        facts = _read(_records(Path(source)), source, form, report)
    else:
        where = f"{source['hub']} (datasets.*.source.hub)"
        rows = [_row(record, False) for record in hub.records(source, "datasets.*.source.hub")]
        facts = _read(rows, where, form, report)
    facts = _without_duplicates(facts, report)
    if conflicts != "all":
        facts = _without_conflicts(facts, conflicts == "last", report)
    report.kept = len(facts)
    for fact in facts:
        report.prompts.update(prompts_of(fact))
    if not facts:
        raise RequestError(f"{source}: no record can be used; {report}".replace("\n", ";"))
    return facts, report


def _without_duplicates(facts: Sequence[Fact], report: Report) -> list[Fact]:
    kept: dict[str, Fact] = {}
    for fact in facts:
        if fact.id in kept:
            report.refuse("duplicate id", fact.id)
        else:
            kept[fact.id] = fact
    return list(kept.values())


def _without_conflicts(facts: Sequence[Fact], last: bool, report: Report) -> list[Fact]:
    def key(fact: Fact) -> tuple[str, str]:
        return fact.subject, fact.relation or fact.prompt

    # Of several, the one that a dictionary was given last stays.
    wanted = {key(fact): fact.target_new for fact in (facts if last else reversed(facts))}
    kept = []
    for fact in facts:
        if fact.target_new == wanted[key(fact)]:
            kept.append(fact)
        else:
            report.refuse("conflicts with another edit of its subject", fact.id)
    return kept


def _builtin() -> list[Fact]:
    """The table that comes with the package: countries, cities, elements and the like."""
    folder = resources.files("mose") / "data"
    relations = yaml.safe_load((folder / "relations.yaml").read_text(encoding="utf-8"))
    facts = []
    for row in csv.DictReader((folder / "facts.csv").read_text(encoding="utf-8").splitlines()):
        relation = relations[row["relation"]]
        facts.append(
            Fact(
                id=f"{row['relation']}/{row['subject']}",
                subject=row["subject"],
                prompt=relation["prompt"],
                target_true=row["object"],
                relation=row["relation"],
                also=tuple(filter(None, row["also"].split("|"))),
                paraphrases=tuple(p.replace("{}", row["subject"]) for p in relation["paraphrases"]),
            )
        )
    return facts


def _read(given: Sequence[Any], source: str, form: str | None, report: Report) -> list[Fact]:
    records = unroll(given)
    report.read = len(records)
    facts = []
    for number, (name, record) in enumerate(records):
        where = f"record {number}"
        if not isinstance(record, Mapping):
            report.refuse("not an object of named fields", where)
            continue
        told = form or _told_form(record, source, number)
        try:
            fact, left_out = without_blanks(read_record(told, record, name))
            facts.append(fact)
            report.left_out += left_out
        except Refused as error:
            report.refuse(str(error), where)
        except (KeyError, TypeError, AttributeError) as error:
            report.refuse(f"missing or odd field {error}", where)
        except RequestError:
            report.refuse("subject not in the prompt exactly once", where)
    return facts


def _told_form(record: Record, source: str, number: int) -> str:
    found = forms_of(record)
    for one, first, other, second in EXPERIMENTS:
        if one in found and other in found:
            name = FORMS[one].what.partition(",")[0]
            raise RequestError(
                f"{source}: {name} is edited in two ways, which are two experiments; set "
                f"datasets.*.form: {one} ({first}) or {other} ({second})"
            )
    if found:
        return found[0]
    known = "; ".join(f"{f.what}: {', '.join(sorted(f.fields))}" for f in FORMS.values())
    raise RequestError(
        f"{source}, record {number}: fields {sorted(record)} are of no known form; expected all "
        f"fields of one of ({known})"
    )


def _records(path: Path) -> Sequence[Any]:
    """Records of a CSV, Parquet, JSON or JSON lines file, told by its name's end or its text."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file (datasets.*.source)")
    if path.suffix in (".csv", ".parquet"):
        return _table(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 text ({error})") from None
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RequestError(f"{path}: not valid JSON ({error})") from None
    return files.read_jsonl(path)


def _table(path: Path) -> list[dict[str, Any]]:
    """Rows with their empty cells left out. Lists and objects in a CSV's cells are JSON."""
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        else:
            frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise RequestError(f"{path}: cannot be read ({error})") from None
    return [_row(row, path.suffix == ".csv") for row in frame.to_dict("records")]


def _row(row: Mapping[Any, Any], parse: bool) -> dict[str, Any]:
    """A table's row as a record without its empty cells."""
    cells = {str(k): _cell(v, parse) for k, v in row.items()}
    return {k: v for k, v in cells.items() if v is not None and v != ""}


def _cell(value: Any, parse: bool) -> Any:
    """A cell as plain Python: Parquet's lists come as arrays, a missing text as NaN."""
    if isinstance(value, np.ndarray | list):
        return [_cell(item, parse) for item in value]
    if isinstance(value, dict):
        cells = {k: _cell(v, parse) for k, v in value.items()}
        return {k: v for k, v in cells.items() if v is not None}
    if isinstance(value, float) and math.isnan(value):
        return None
    if parse and isinstance(value, str) and value[:1] in ("[", "{") and value != "{}":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def check_references(report: Report, source: str) -> None:
    """Refuse records without reference texts where texts are to be compared with them."""
    if not report.prompts["references"]:
        raise RequestError(
            f"{source}: measure.consistency compares with reference texts, and none of the "
            f"{report.kept} records has any (field references); add them, or set it to false"
        )
