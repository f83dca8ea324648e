"""Readers: files of other people's edit records, and the built-in table, as facts.

Each reader turns one record into one fact, or refuses it with a reason. Nothing is dropped in
silence: the report counts what was read, kept and refused, and why.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from mose import store
from mose.errors import RequestError
from mose.requests import Fact, Probe

Record = Mapping[str, Any]


@dataclass
class Report:
    """What became of the records of a file."""

    read: int = 0
    kept: int = 0
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
            "refused": dict(self.refused),
            "examples": self.examples,
        }

    def __str__(self) -> str:
        lines = [f"{self.read} records read, {self.kept} kept"]
        lines += [f"  {n} refused: {why}" for why, n in sorted(self.refused.items())]
        return "\n".join(lines)


def read_facts_of(source: str) -> tuple[list[Fact], Report]:
    """Facts of a data source: "builtin", or the path of a JSON or JSON lines file.

    A file's form is told from its fields: CounterFact as MEMIT has it, its condensed form in
    EasyEdit, or the plain form (subject, prompt, target_new; the rest optional).
    """
    report = Report()
    facts = _builtin() if source == "builtin" else _read_file(Path(source), report)
    if source == "builtin":
        report.read = len(facts)
    seen: set[str] = set()
    kept = []
    for fact in facts:
        if fact.id in seen:
            report.refuse("duplicate id", fact.id)
            continue
        seen.add(fact.id)
        kept.append(fact)
    report.kept = len(kept)
    if not kept:
        raise RequestError(f"{source}: no record can be used; {report}".replace("\n", ";"))
    return kept, report


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


def _read_file(path: Path, report: Report) -> list[Fact]:
    records = _records(path)
    report.read = len(records)
    facts = []
    for number, record in enumerate(records):
        name = f"record {number}"
        form = _form(record, path, number)
        try:
            facts.append(form(record, number))
        except _Refused as error:
            report.refuse(str(error), name)
        except (KeyError, TypeError, AttributeError) as error:
            report.refuse(f"missing or odd field {error}", name)
        except RequestError:
            report.refuse("subject not in the prompt exactly once", name)
    return facts


class _Refused(Exception):
    """A record that cannot be edited; the message is the reason that is counted."""


def _records(path: Path) -> Sequence[Record]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"{path}: no such file (datasets.*.source)") from None
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RequestError(f"{path}: not valid JSON ({error})") from None
    return store.read_jsonl(path)


def _form(record: Record, path: Path, number: int) -> Callable[[Record, int], Fact]:
    if "requested_rewrite" in record:
        return _counterfact
    if {"rephrase_prompt", "locality_prompt"} <= record.keys():
        return _easyedit
    if {"subject", "prompt", "target_new"} <= record.keys():
        return _plain
    raise RequestError(
        f"{path}, record {number}: fields {sorted(record)} are of no known form; expected "
        "requested_rewrite (CounterFact), rephrase_prompt and locality_prompt (EasyEdit), or "
        "subject, prompt and target_new"
    )


def _counterfact(record: Record, number: int) -> Fact:
    """CounterFact as in MEMIT: requested_rewrite, paraphrase_prompts, neighborhood_prompts."""
    rewrite = record["requested_rewrite"]
    true = rewrite["target_true"]["str"].strip()
    return Fact(
        id=str(record.get("case_id", number)),
        subject=rewrite["subject"],
        prompt=rewrite["prompt"],
        target_true=true,
        target_new=_target(rewrite["target_new"]["str"]),
        relation=rewrite.get("relation_id", ""),
        paraphrases=tuple(record.get("paraphrase_prompts", ())),
        # CounterFact's neighbours are subjects that share the true object.
        locality=tuple(Probe(p, true) for p in record.get("neighborhood_prompts", ())),
    )


def _easyedit(record: Record, number: int) -> Fact:
    """CounterFact condensed as in EasyEdit: the subject stands in the prompt already."""
    locality = record.get("locality_prompt")
    return Fact(
        id=str(record.get("case_id", number)),
        subject=record["subject"],
        prompt=_with_gap(record["prompt"], record["subject"]),
        target_true=str(record.get("ground_truth", "")).strip(),
        target_new=_target(record["target_new"]),
        relation=str(record.get("relation_id", "")),
        paraphrases=(record["rephrase_prompt"],),
        locality=(Probe(locality, str(record["locality_ground_truth"]).strip()),)
        if locality
        else (),
    )


def _plain(record: Record, number: int) -> Fact:
    """A user's own form; `locality` is a list of {prompt, target}."""
    prompt, subject = record["prompt"], record["subject"]
    return Fact(
        id=str(record.get("id", number)),
        subject=subject,
        prompt=prompt if "{}" in prompt else _with_gap(prompt, subject),
        target_true=str(record.get("target_true", "")).strip(),
        target_new=_target(record["target_new"]),
        relation=str(record.get("relation", "")),
        paraphrases=tuple(p.replace("{}", subject) for p in record.get("paraphrases", ())),
        locality=tuple(Probe(p["prompt"], p["target"]) for p in record.get("locality", ())),
    )


def _target(text: str) -> str:
    if not text.strip():
        raise _Refused("empty target_new")
    return text.strip()


def _with_gap(prompt: str, subject: str) -> str:
    """The prompt with its one mention of the subject replaced by `{}`."""
    if not subject.strip() or prompt.count(subject) == 0:
        raise _Refused("subject not in the prompt")
    if prompt.count(subject) > 1:
        raise _Refused("subject more than once in the prompt")
    return prompt.replace(subject, "{}")
