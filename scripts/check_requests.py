"""Refuse a list of requests that is shorter than the number of edits asked for."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.facts import drawing, requests
    from mose.storage import files

    count = len(requests.read_requests(args.requests))
    aside = files.read_json(args.report).get("set_aside")
    drawing.check_enough(count, args.at_least, args.requests, aside)
    files.write_text(args.out, f"{count} requests for {args.at_least} edits\n")


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--requests", required=True, help="requests.jsonl")
    parser.add_argument("--report", required=True, help="requests_report.json, what was set aside")
    parser.add_argument("--at-least", type=int, required=True, help="edits asked for")
    parser.add_argument("--out", required=True, help="file that says there are enough")
    programs.run(program, parser)
