"""Measure the anchor of anchored targets: how long the values are that pilot edits ask for."""

import argparse
import json
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    import pandas as pd

    from mose.editing import anchors
    from mose.facts import requests
    from mose.methods.register import parse_variant
    from mose.models import loading
    from mose.storage import files

    # The pilot edits' own targets are free, whatever the variant does with its targets.
    entry = {**json.loads(args.variant), "targets": "free"}
    entry.pop("anchor", None)
    options = parse_variant(entry, "--variant").edit
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    lm.check_layers(options.layers, "methods.*.layers")
    sample = requests.read_requests(args.requests)[: args.count]
    norms = anchors.pilot_norms(lm, sample, options)
    anchor, left_out = anchors.anchor_of(norms)
    said = {
        "anchor": anchor,
        "layer": options.layers[-1],
        "requests": len(sample),
        "requests_asked_for": args.count,
        "left_out": left_out,
    }
    logger.info("%s", ", ".join(f"{key} {value}" for key, value in said.items()))
    rows = [{"request": one.id, "norm": norm} for one, norm in zip(sample, norms, strict=True)]
    with files.atomic(args.out) as temporary:
        pd.DataFrame(rows, columns=["request", "norm"]).to_csv(temporary, index=False)
    files.write_json(args.anchor, said)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    made.add_argument("--variant", required=True, help="method and options, as JSON")
    made.add_argument("--requests", required=True, help="requests.jsonl")
    made.add_argument("--count", type=int, default=1000, help="pilot edits, from the first on")
    made.add_argument("--out", required=True, help="CSV to write, one row per request")
    made.add_argument("--anchor", required=True, help="JSON to write: the anchor, and of what")
    programs.run(program, made, "target_norms")
