"""Reading facts from data sets and from the built-in table.

The report counts records read, kept and refused, with reasons, so that none is dropped silently.
The forms of records are in `mose.facts.forms`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from mose.errors import RequestError
from mose.facts import fields
from mose.facts.fields import Record, Refused
from mose.facts.forms import (
    AMBIGUOUS_FORMS,
    FORMS,
    PLAIN_FIELDS,
    REQUIRED,
    forms_of,
    prompts_of,
    read_record,
    unroll,
    without_blanks,
)
from mose.facts.requests import Fact
from mose.storage import hub
from mose.storage import records as storage
from mose.validation.refusals import one_of

# A fact and the place of its record, in words.
PlacedFact = tuple[str, Fact]


@dataclass
class Report:
    """Counts of the records of a data set.

    left_out: number of prompts that are empty or without an answer.
    prompts: number of prompts of the kept records, by kind.
    ignored: number of records that have a field unknown to the form plain, by field.
    refused: number of refused records, by reason. examples: places of up to five of each.
    """

    read: int = 0
    kept: int = 0
    left_out: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, reason: str, example: str) -> None:
        """Count a refused record, and store it as an example if its reason has less than five."""
        self.refused[reason] += 1
        if len(self.examples.setdefault(reason, [])) < 5:
            self.examples[reason].append(example)

    def as_dict(self) -> dict[str, Any]:
        """The report as values for JSON."""
        return {
            "read": self.read,
            "kept": self.kept,
            "prompts": dict(self.prompts),
            "prompts_left_out": self.left_out,
            "ignored_fields": dict(self.ignored),
            "refused": dict(self.refused),
            "examples": self.examples,
        }

    def __str__(self) -> str:
        lines = [f"{self.read} records read, {self.kept} kept"]
        lines += [f"  {n} refused: {why}" for why, n in sorted(self.refused.items())]
        if self.left_out:
            lines.append(f"  {self.left_out} further prompts left out: empty, or without an answer")
        if self.ignored:
            names = fields.listed(f"{name} ({n})" for name, n in self.ignored.most_common())
            lines.append(f"  ignored fields (of so many records): {names}")
        return "\n".join(lines)


def read_facts_of(
    source: str | Mapping[str, Any],
    form: str | None = None,
    conflicts: str = "all",
    columns: Mapping[str, str] | None = None,
    objection: Callable[[Fact], str | None] | None = None,
) -> tuple[list[Fact], Report]:
    """Facts of a data source, and the report of what was read.

    source: "builtin", the path of a JSON, JSON lines, CSV, TSV or Parquet file, or a data set of
    the hub (see `mose.storage.hub.records`).
    form: a name of `mose.facts.forms.FORMS`; None to recognise it from each record's fields.
    conflicts: which facts with the same subject and relation (or prompt), but different new
    objects, are kept: "all", the "last", or the first ("refuse"). The others count as refused.
    columns: {field of the form plain: field of the source}, where they differ.
    objection: why a fact cannot be edited, or None (`mose.evaluation.knowledge.objection`).
    Raises RequestError if the source cannot be read, its form is unknown, or no fact is left.
    """
    _check_form(form)
    report = Report()
    if source == "builtin":
        if columns:
            raise RequestError(
                f"{fields.COLUMNS}: the built-in table has no fields to rename; remove it"
            )
        facts = [(fact.id, fact) for fact in _builtin()]
        report.read = len(facts)
    else:
        rows, where = _rows(source)
        facts = _read_renamed(rows, where, form, columns, report)
    facts = _without_duplicates(facts, report)
    if conflicts != "all":
        facts = _without_conflicts(facts, conflicts == "last", report)
    if objection is not None:
        facts = _without_objection(facts, objection, report)
    return _reported(facts, report, str(source))


def read_records(
    rows: Sequence[Any],
    where: str,
    form: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[list[Fact], Report]:
    """Facts of records that are in memory, and the report of what was read.

    where: name of the records in errors. form, columns, and errors: as in `read_facts_of`.
    """
    _check_form(form)
    report = Report()
    facts = _read_renamed(list(storage.numbered(rows)), where, form, columns, report)
    return _reported(_without_duplicates(facts, report), report, where)


def _check_form(form: str | None) -> None:
    if form is not None and form not in FORMS:
        raise RequestError(f"datasets.*.form: {one_of(form, [*FORMS])}")


def _reported(
    placed: Sequence[PlacedFact], report: Report, source: str
) -> tuple[list[Fact], Report]:
    """Facts with their report completed. Raises RequestError for none."""
    facts = [fact for _, fact in placed]
    report.kept = len(facts)
    for fact in facts:
        report.prompts.update(prompts_of(fact))
    if not facts:
        raise _nothing_left(report, source)
    return facts, report


def _nothing_left(report: Report, source: str) -> RequestError:
    """The error for records of which none can be used, or none at all."""
    if not report.read:
        return RequestError(
            f"{source}: holds no records; give at least one with {', '.join(REQUIRED)} "
            "(docs/data.md lists the forms)"
        )
    reasons = (f"{why} ({n}, {report.examples[why][0]} first)" for why, n in report.refused.items())
    return RequestError(
        f"{source}: none of {report.read} records can be used: {', '.join(reasons)}; correct them "
        "(docs/data.md lists the forms)"
    )


def _read_renamed(
    placed: Sequence[storage.Placed],
    where: str,
    form: str | None,
    columns: Mapping[str, str] | None,
    report: Report,
) -> list[PlacedFact]:
    rows = fields.renamed([row for _, row in placed], columns or {}, PLAIN_FIELDS, where)
    places = [place for place, _ in placed]
    return _read(list(zip(places, rows, strict=True)), where, form, report)


def _rows(source: str | Mapping[str, Any]) -> tuple[list[storage.Placed], str]:
    """All records of a file or of the hub with their places, and their source's name in errors."""
    if isinstance(source, str):
        return list(storage.placed(source, "datasets.*.source", values=True)), source
    key = "datasets.*.source.hub"
    streamed = hub.records(source, key)
    rows = storage.numbered(storage.without_empty(record, parse=False) for record in streamed)
    return list(rows), f"{source['hub']} ({key})"


def _without_duplicates(facts: Sequence[PlacedFact], report: Report) -> list[PlacedFact]:
    kept: dict[str, PlacedFact] = {}
    for place, fact in facts:
        if fact.id in kept:
            report.refuse("duplicate id", place)
        else:
            kept[fact.id] = place, fact
    return list(kept.values())


def _without_conflicts(facts: Sequence[PlacedFact], last: bool, report: Report) -> list[PlacedFact]:
    def key(fact: Fact) -> tuple[str, str]:
        return fact.subject, fact.relation or fact.prompt

    # A dictionary keeps the last value of a key.
    targets = {key(fact): fact.target_new for _, fact in (facts if last else reversed(facts))}
    kept = []
    for place, fact in facts:
        if fact.target_new == targets[key(fact)]:
            kept.append((place, fact))
        else:
            report.refuse("conflicts with another edit of its subject", place)
    return kept


def _without_objection(
    facts: Sequence[PlacedFact], objection: Callable[[Fact], str | None], report: Report
) -> list[PlacedFact]:
    kept = []
    for place, fact in facts:
        why = objection(fact)
        if why is None:
            kept.append((place, fact))
        else:
            report.refuse(why, place)
    return kept


def _builtin() -> list[Fact]:
    """The facts of mose/data/facts.csv."""
    folder = resources.files("mose") / "data"
    relations = yaml.safe_load((folder / "relations.yaml").read_text(encoding="utf-8"))
    facts = []
    with resources.as_file(folder / "facts.csv") as path:
        rows = storage.read(path, "datasets.*.source")
    for row in rows:
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


def _read(
    rows: Sequence[storage.Placed], source: str, form: str | None, report: Report
) -> list[PlacedFact]:
    records = unroll(rows)
    report.read = len(records)
    facts = []
    fallback_form = _first_form([record for *_, record in records])
    for number, (place, name, record) in enumerate(records):
        where = place if name == str(number) else f"{place} (id {fields.shown(name)})"
        if not isinstance(record, Mapping):
            report.refuse("not an object of named fields", where)
            continue
        record_form = form or _form_of(record, source) or fallback_form
        if not record_form:
            raise _unknown_form(record, f"{source}, {where}")
        if record_form == "plain":
            report.ignored.update(fields.ignored(record, PLAIN_FIELDS, f"{source}, {where}"))
        try:
            fact, left_out = without_blanks(read_record(record_form, record, name))
            facts.append((where, fact))
            report.left_out += left_out
        except Refused as error:
            report.refuse(str(error), where)
        except KeyError as error:
            report.refuse(f"missing or empty field {error}", where)
        except (TypeError, AttributeError) as error:
            report.refuse(f"a field of another kind than its form has ({error})", where)
        except RequestError:
            report.refuse("subject not in the prompt exactly once", where)
    return facts


def _first_form(records: Sequence[Any]) -> str:
    """The form of the first record with a known form, or ""."""
    forms = (forms_of(record) for record in records if isinstance(record, Mapping))
    return next((names[0] for names in forms if names), "")


def _form_of(record: Record, source: str) -> str:
    """The form of a record, or "". Raises RequestError if it fits a pair of AMBIGUOUS_FORMS."""
    forms = forms_of(record)
    for form_a, target_a, form_b, target_b in AMBIGUOUS_FORMS:
        if form_a in forms and form_b in forms:
            name = FORMS[form_a].what.partition(",")[0]
            raise RequestError(
                f"{source}: {name} is edited in two ways, which are two experiments; set "
                f"datasets.*.form: {form_a} ({target_a}) or {form_b} ({target_b})"
            )
    return forms[0] if forms else ""


def _unknown_form(record: Record, where: str) -> RequestError:
    """The error for a file without a record of a known form. record: the file's first."""
    missing = [name for name in REQUIRED if name not in record]
    pairs = fields.suggested(record, missing, PLAIN_FIELDS)
    columns = ", ".join(f"{ours}: {fields.shown(its)}" for ours, its in pairs.items())
    hint = f"did you mean {fields.COLUMNS}: {{{columns}}}?" if pairs else f"set {fields.COLUMNS};"
    return RequestError(
        f"{where}: fields {fields.listed(record)}; missing {', '.join(missing)}; "
        f"{hint} docs/data.md lists the forms"
    )


def check_references(report: Report, source: str) -> None:
    """Raise RequestError if no kept record has the reference texts of measure.consistency."""
    if not report.prompts["references"]:
        raise RequestError(
            f"{source}: measure.consistency compares with reference texts, and none of the "
            f"{report.kept} records has any (field references); add them, or set it to false"
        )
