"""Compare all methods of an experiment with one of them, request by request."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.report import intervals, tables

    metrics = tables.read(args.metrics)
    table = intervals.differences(metrics, args.baseline, pooled=args.pooled)
    programs.write_table(args.out, table)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--metrics", required=True, help="metrics.csv of the experiment")
    parser.add_argument("--baseline", required=True, help="label of the method to compare with")
    parser.add_argument("--pooled", action="store_true", help="all seeds together, in one row")
    parser.add_argument("--out", required=True, help="table to write (.csv)")
    programs.run(program, parser)
