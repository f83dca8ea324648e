"""Draw edit requests from facts, in the one order that a seed gives."""

import argparse
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from collections import Counter

    from mose.facts import drawing, requests
    from mose.storage import files

    facts = requests.read_facts(args.facts)
    drawn = drawing.draw_requests(
        facts, args.seed, args.known_only, args.neighbours, args.held_out, args.part
    )
    logger.info("%d requests of %d facts", len(drawn), len(facts))
    requests.write_records(args.out, drawn)
    if not args.report:
        return
    left_out = drawing.left_out(facts, drawn)
    total: Counter[str] = Counter()
    for missing in left_out.values():
        total.update(missing)
    report = {
        "facts": len(facts),
        "requests": len(drawn),
        "set_aside": drawing.set_aside(facts, drawn, args.known_only, args.part),
        "neighbours": args.neighbours,
        "prompts_left_out": dict(total),
        "left_out_by_request": left_out,
    }
    files.write_json(args.report, report)


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--facts", required=True, help="facts.jsonl")
    made.add_argument("--seed", type=int, required=True)
    made.add_argument("--known-only", action="store_true", help="only facts the model knows")
    made.add_argument("--neighbours", type=int, default=3, help="locality prompts per request")
    made.add_argument("--held-out", type=float, default=0.2, help="share of subjects never edited")
    made.add_argument(
        "--part", default="all", choices=["all", "tuning", "evaluation"], help="which subjects"
    )
    made.add_argument("--out", required=True, help="requests.jsonl to write")
    made.add_argument("--report", help="report (JSON) to write of what was left out")
    programs.run(program, made)
