"""Rank the variants of a scan, and write the best settings of each scanned entry."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    import yaml

    from mose.report import ranking, tables
    from mose.storage import files

    summary = tables.read(args.summary)
    entries, options = files.read_option(args.entries), files.read_option(args.options)
    table, best = ranking.rank_scan(summary, entries, options)
    programs.write_table(args.out, table)
    files.write_text(args.text, ranking.format_ranking(table))
    files.write_text(args.settings, yaml.safe_dump(best, sort_keys=False))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--entries",
        required=True,
        help="label of each variant -> its entry of `methods:`, as JSON or a file of it",
    )
    parser.add_argument(
        "--options", required=True, help="options of the variants by model, as JSON or a file of it"
    )
    parser.add_argument("--summary", required=True, help="summary.csv of the scan")
    parser.add_argument("--out", required=True, help="CSV to write: the ranking")
    parser.add_argument("--text", required=True, help="text file to write: the ranking")
    parser.add_argument(
        "--settings", required=True, help="YAML to write: the best options of each entry"
    )
    programs.run(program, parser)
