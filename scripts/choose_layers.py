"""Score all layers for rotations on a sample of requests, and propose layers to edit."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import layer_choice
    from mose.facts import requests
    from mose.models import loading

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    sample = requests.read_requests(args.requests)[: args.count]
    programs.write_table(args.out, layer_choice.score_rows(lm, sample), layer_choice.COLUMNS)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--requests", required=True, help="requests.jsonl")
    parser.add_argument(
        "--count", type=int, default=50, help="number of requests to score, from the first"
    )
    parser.add_argument("--out", required=True, help="CSV to write, one row per side and layer")
    programs.run(program, parser, "layer_scores")
