"""Measure the anchor of anchored value targets: the trimmed mean norm of pilot edits' values."""

import argparse
import json
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose.editing import anchors
    from mose.facts import requests
    from mose.methods.register import parse_variant
    from mose.models import loading
    from mose.storage import files

    variant = parse_variant(json.loads(args.variant), "--variant")
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    rows, anchor = anchors.measure(lm, requests.read_requests(args.requests), variant, args.count)
    logger.info("%s", ", ".join(f"{key} {value}" for key, value in anchor.items()))
    programs.write_table(args.out, rows, anchors.COLUMNS)
    files.write_json(args.anchor, anchor)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--variant", required=True, help="method and options, as JSON")
    parser.add_argument("--requests", required=True, help="requests.jsonl")
    parser.add_argument(
        "--count", type=int, default=1000, help="number of pilot edits, from the first request"
    )
    parser.add_argument("--out", required=True, help="CSV to write, one row per request")
    parser.add_argument(
        "--anchor",
        required=True,
        help="JSON to write: the anchor and its model, requests and options",
    )
    programs.run(program, parser, "target_norms_of")
