"""Gather the tasks of an experiment into tables, against the unedited model."""

import argparse
import json
from pathlib import Path

import pandas as pd

from mose.cli import programs
from mose.report import abilities, tables
from mose.storage import files


def read_rows(path: Path) -> pd.DataFrame:
    """The rows of one evaluation; a task may be called "null"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"task": str})


def program(args: argparse.Namespace) -> None:
    plan = json.loads(args.plan)
    root = Path("results", plan["experiment"])
    runs, every = [], []
    for model in plan["models"]:
        unedited = read_rows(root / model / "unedited" / "tasks.csv")
        names = {"model": model, "dataset": "", "method": "unedited", "seed": "", "edits": 0}
        every.append(tables.identify(unedited, **names))
        for dataset in plan["datasets"]:
            for method in plan["methods"]:
                for seed in plan["seeds"]:
                    folder = root / model / dataset / method / f"seed{seed}"
                    for edits in plan["checkpoints"]:
                        identity = {"model": model, "dataset": dataset, "method": method,
                                    "seed": seed, "edits": edits}  # fmt: skip
                        edited = read_rows(folder / f"tasks{edits}.csv")
                        runs.append((identity, edited, unedited))
                        every.append(tables.identify(edited, **identity))
    table = abilities.abilities(runs, dict(plan["headlines"]))
    summary = tables.read(root / "summary.csv")
    last = abilities.comparison(summary, table)
    named = {"tasks": pd.concat(every, ignore_index=True), "abilities": table, "comparison": last}
    for name, frame in named.items():
        with files.atomic(root / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    files.write_text(root / "comparison.txt", abilities.format_comparison(last))


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--plan", required=True, help="what the experiment consists of, as JSON")
    programs.run(program, made)
