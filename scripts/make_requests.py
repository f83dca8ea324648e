"""Draw edit requests from facts, in the order of a seed."""

import argparse
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose.facts import conflicts, drawing, requests
    from mose.storage import files

    facts = requests.read_facts(args.facts)
    drawn = drawing.draw_requests(
        facts, args.seed, args.known_only, args.neighbours, args.held_out, args.part
    )
    logger.info("%d requests of %d facts", len(drawn), len(facts))
    order = drawn
    if args.conflicts:
        order = conflicts.with_conflicts(drawn, facts, args.conflicts, args.apart, args.seed)
    requests.write_records(args.out, order)
    if args.report:
        report = drawing.drawing_report(facts, drawn, args.neighbours, args.known_only, args.part)
        if args.conflicts:
            report["conflicts"] = len(order) - len(drawn)
        files.write_json(args.report, report)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--facts", required=True, help="facts.jsonl")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--known-only", action="store_true", help="keep only facts that the model knows"
    )
    parser.add_argument(
        "--neighbours", type=int, default=3, help="maximum number of locality prompts per request"
    )
    parser.add_argument(
        "--held-out", type=float, default=0.2, help="share of subjects never edited"
    )
    parser.add_argument(
        "--part", default="all", choices=["all", "tuning", "evaluation"], help="subjects to edit"
    )
    parser.add_argument(
        "--conflicts", type=float, default=0.0, help="share of requests that are edited again"
    )
    parser.add_argument(
        "--apart", type=int, default=1, help="least number of places between two such requests"
    )
    parser.add_argument("--out", required=True, help="requests.jsonl to write")
    parser.add_argument("--report", help="JSON to write: counts of facts and prompts left out")
    programs.run(program, parser)
