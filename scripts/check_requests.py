"""Check that there are enough requests and, if asked, reference texts; else exit with an error."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.facts import drawing, requests
    from mose.storage import files

    count = len(requests.read_requests(args.requests))
    set_aside = files.read_json(args.report).get("set_aside")
    drawing.check_enough(count, args.at_least, args.requests, set_aside)
    if args.facts:
        from collections import Counter

        from mose.facts import readers

        found = files.read_json(args.facts)
        report = readers.Report(kept=found["kept"], prompts=Counter(found["prompts"]))
        readers.check_references(report, f"datasets.{args.dataset}")
    files.write_text(args.out, f"{count} requests for {args.at_least} edits\n")


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--requests", required=True, help="requests.jsonl")
    parser.add_argument("--report", required=True, help="requests_report.json")
    parser.add_argument("--at-least", type=int, required=True, help="number of edits")
    parser.add_argument("--facts", help="facts_report.json; refuse facts without reference texts")
    parser.add_argument("--dataset", help="label of the data set in that error")
    parser.add_argument("--out", required=True, help="text file to write on success")
    programs.run(program, parser)
