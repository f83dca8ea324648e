"""Gather the task scores of an experiment into tables, compared with the unedited model."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment import gather
    from mose.experiment.runs import Runs
    from mose.report import abilities
    from mose.storage import files

    runs = Runs.parse(args.runs)
    tables = gather.task_tables(runs, json.loads(args.headlines))
    for name, table in tables.items():
        programs.write_table(runs.paths.at(table=name).table, table)
    text = abilities.format_comparison(tables["comparison"])
    files.write_text(runs.paths.comparison_text, text)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    parser.add_argument(
        "--headlines", required=True, help="pairs of task and headline metric, as JSON"
    )
    programs.run(program, parser)
