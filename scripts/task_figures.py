"""Draw the figures of an experiment's tasks from its table of abilities."""

import argparse
import json
from pathlib import Path

from mose.cli import programs
from mose.report import abilities, tables
from mose.report.figures import drawing, task_curves


def program(args: argparse.Namespace) -> None:
    plan = json.loads(args.plan)
    root = Path("results", plan["experiment"])
    table = abilities.unedited_rows(tables.read(root / "abilities.csv"))
    for model in plan["models"]:
        for dataset in plan["datasets"]:
            part = table[(table["model"] == model) & (table["dataset"] == dataset)]
            for name, draw in (("abilities", task_curves.scores),
                               ("retained", task_curves.retained)):  # fmt: skip
                drawing.save(draw(part, plan["methods"]), root / "figures" / model / dataset / name)


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--plan", required=True, help="what the experiment consists of, as JSON")
    programs.run(program, made)
