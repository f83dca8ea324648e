"""Read a task's source and draw its items, the same for all models and checkpoints."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.evaluation.tasks import definition, items

    task = definition.parse_task(json.loads(args.task), f"tasks.{args.name}")
    items.write(args.out, items.prepare(args.name, task))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--name", required=True, help="the task's label in the config")
    parser.add_argument("--task", required=True, help="the task, as JSON")
    parser.add_argument("--out", required=True, help="JSON to write: the task and its items")
    programs.run(program, parser)
