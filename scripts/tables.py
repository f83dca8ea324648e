"""Gather all measurements of an experiment into tables, and write its summary."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment import gather
    from mose.experiment.runs import Runs
    from mose.report import latex, pages
    from mose.storage import files

    runs = Runs.parse(args.runs)
    paths = runs.paths.so_far() if args.so_far else runs.paths
    tables = gather.experiment_tables(
        runs, args.batch, args.consistency, finished=args.so_far, conflicting=args.conflicts
    )
    for name, table in tables.items():
        programs.write_table(paths.at(table=name).table, table)
    text = latex.summary_table(tables["summary"], tables["summary_intervals"])
    files.write_text(paths.summary_latex, text)
    lines = [pages.format_summary(tables["summary"])]
    if args.so_far:
        from mose.experiment import unfinished

        lines += [f"left out: {line}" for line in unfinished.left_out(runs)]
    files.write_text(paths.summary_text, "\n".join([*lines, ""]))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    parser.add_argument("--batch", type=int, required=True, help="requests per update")
    parser.add_argument("--consistency", action="store_true", help="compare with reference texts")
    parser.add_argument(
        "--conflicts", action="store_true", help="requests conflict: judge which of two was kept"
    )
    parser.add_argument(
        "--so-far", action="store_true", help="only finished checkpoints; write to so_far/"
    )
    programs.run(program, parser)
