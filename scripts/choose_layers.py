"""Score all layers for rotations on a sample of requests, and propose the best."""

import argparse
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    import pandas as pd

    from mose.editing import layer_choice
    from mose.facts import requests
    from mose.models import loading
    from mose.storage import files

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    sample = requests.read_requests(args.requests)[: args.count]
    rows = []
    for side, scores in layer_choice.first_order_scores(lm, sample).items():
        means = scores.mean(0).tolist()
        errors = (scores.std(0) / len(sample) ** 0.5).tolist()
        proposed = layer_choice.propose(means)
        logger.info("%s: best layer %d, proposed %s", side, means.index(max(means)), proposed)
        rows += [
            {
                "side": side,
                "layer": layer,
                "score": score,
                "standard_error": error,
                "proposed": layer in proposed,
                "requests": len(sample),
            }
            for layer, (score, error) in enumerate(zip(means, errors, strict=True))
        ]
    with files.atomic(args.out) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    made.add_argument("--requests", required=True, help="requests.jsonl")
    made.add_argument("--count", type=int, default=50, help="requests to score, from the first on")
    made.add_argument("--out", required=True, help="CSV to write, one row per side and layer")
    programs.run(program, made, "layer_scores")
