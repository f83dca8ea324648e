"""Gather the comparisons of next-token distributions of all runs into one table."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment import gather
    from mose.experiment.runs import Runs

    table = gather.next_token_table(Runs.parse(args.runs))
    programs.write_table(args.out, table)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    parser.add_argument("--out", required=True, help="CSV to write")
    programs.run(program, parser)
