"""Rank the variants of a scan, and write the best settings of each entry."""

import argparse
import json
from pathlib import Path

import pandas as pd
import yaml

from mose.cli import programs
from mose.report import ranking, tables
from mose.storage import files


def program(args: argparse.Namespace) -> None:
    plan = json.loads(args.plan)
    summary = tables.read(args.summary)
    ranked, best = [], {}
    for model, options in plan["options"].items():
        for dataset in plan["datasets"]:
            part = summary[(summary["model"] == model) & (summary["dataset"] == dataset)]
            table = ranking.rank(part, plan["entries"], options)
            ranked.append(table.assign(model=model, dataset=dataset))
            first = table[table["rank"] == 1]
            best[f"{model}, {dataset}"] = {
                entry: options[label]
                for entry, label in zip(first["entry"], first["variant"], strict=True)
            }
    joined = pd.concat(ranked, ignore_index=True)
    with files.atomic(args.out) as temporary:
        joined.to_csv(temporary, index=False)
    files.write_text(args.settings, yaml.safe_dump(best, sort_keys=False))
    shown = joined.drop(columns="variant").to_string(index=False, na_rep="", float_format="%.3f")
    files.write_text(Path(args.out).with_suffix(".txt"), f"{shown}\n")


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--plan", required=True, help="entries and options of the variants, as JSON")
    made.add_argument("--summary", required=True, help="summary.csv of the scan")
    made.add_argument("--out", required=True, help="CSV to write; a .txt is written beside it")
    made.add_argument("--settings", required=True, help="YAML to write: the best of each entry")
    programs.run(program, made)
