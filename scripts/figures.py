"""Draw the figures of an experiment from its tables."""

import argparse
import json
from pathlib import Path

from mose.cli import programs
from mose.report import retention, tables
from mose.report.figures import details, drawing, overview


def program(args: argparse.Namespace) -> None:
    plan = json.loads(args.plan)
    root = Path(args.tables)
    methods = plan["methods"]
    names = ("summary", "summary_intervals", "metrics", "means", "retention_matrix",
             "forgetting_curves", "requests")  # fmt: skip
    read = {name: tables.read(root / f"{name}.csv") for name in names}
    # A request is drawn at the checkpoint that ended its segment.
    step = plan["checkpoints"][0]
    read["requests"]["edits"] = (read["requests"]["order"] // step + 1) * step
    for model in plan["models"]:
        for dataset in plan["datasets"]:
            part = {
                name: frame[(frame["model"] == model) & (frame["dataset"] == dataset)]
                for name, frame in read.items()
            }
            if part["summary"].empty:
                continue  # nothing of it was measured yet
            matrix = part["retention_matrix"]
            drawn = {
                "shares": overview.token_shares(
                    part["summary"], part["summary_intervals"], methods
                ),
                "success": overview.success_rates(
                    part["summary"], part["summary_intervals"], methods
                ),
                "stability": overview.stability(part["summary"], methods),
                "perplexity": overview.perplexity(part["summary"], methods),
                "attained": overview.attained(part["requests"], methods),
                "forgetting": overview.forgetting(retention.forgetting(part["metrics"]), methods),
                "retention": overview.retention_map(
                    matrix[matrix["metric"] == "reliability"], methods
                ),
            }
            if len(plan["checkpoints"]) > 1:
                drawn["forgetting_curves"] = details.forgetting_curves(
                    part["forgetting_curves"], methods
                )
            # Whether there is anything to draw is known only now, so that a folder is promised.
            (root / "figures" / model / dataset / "portability").mkdir(parents=True, exist_ok=True)
            kinds = details.kinds_of(part["means"])
            if len(kinds):
                drawn["portability/by_kind"] = details.portability(kinds, methods)
            for name, figure in drawn.items():
                drawing.save(figure, root / "figures" / model / dataset / name)


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--plan", required=True, help="what the experiment consists of, as JSON")
    made.add_argument("--tables", required=True, help="folder of the tables, and for the figures")
    programs.run(program, made)
