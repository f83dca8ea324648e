"""One batch of ten facts by AlphaEdit: its published procedure, ours, and ours with `margin`.

The procedure (benchmarks/plain.py) is that of AlphaEdit's code: one request at a time, the whole
model at every step, all positions through the head, one pass a layer for keys. The model has
SmolLM2-135M's shape and random weights; every request takes all its steps. The first two must end
in the same weights. Times are a processor's seconds, medians of alternating runs.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import plain
import torch
from pairs import agree
from run import REQUESTS, TEMPLATES, model

from mose.cli import programs
from mose.editing import sequence, writing
from mose.facts.requests import EditRequest
from mose.linalg.second_moment import SecondMoment
from mose.methods.alphaedit import protected_directions
from mose.methods.options import Variant
from mose.methods.register import parse_variant
from mose.models.causal_lm import CausalLM
from mose.statistics import second_moments
from mose.storage import files

logger = logging.getLogger(__name__)
LAYERS = (4, 5, 6, 7, 8)
FACTS = REQUESTS[:10]
STEPS = {"adam": 25, "margin": 8}
PUBLISHED = "published procedure"


def moments_of(lm: CausalLM, layers: Sequence[int]) -> dict[int, SecondMoment]:
    """Second moments of random tokens, by layer."""
    vocabulary = len(lm.tokenizer)
    windows = torch.randint(vocabulary, (32, 64), generator=torch.Generator().manual_seed(0))
    sums, count = second_moments.accumulate(lm, windows.numpy(), layers, False)
    return {layer: SecondMoment(total / count) for layer, total in sums.items()}


def compare(
    lm: CausalLM, layers: Sequence[int], facts: Sequence[EditRequest], repeats: int
) -> list[dict[str, Any]]:
    """A row per procedure: median processor seconds per fact, and times faster than PUBLISHED.

    lm: unedited. Raises RuntimeError if PUBLISHED and ours with Adam end in other weights.
    """
    base = {layer: lm.weight(layer).detach().clone() for layer in layers}
    moments = moments_of(lm, layers)
    variants = {
        name: parse_variant(
            {"method": "alphaedit", "layers": list(layers), "learning_rate": 0.1, "stop_loss": 0.0,
             "null_space": "energy", "optimiser": name, "steps": steps}
        )
        for name, steps in STEPS.items()
    }  # fmt: skip
    published = variants["adam"].edit
    projectors = {}
    for layer, moment in moments.items():
        kept = protected_directions(moment.matrix, published)
        projectors[layer] = torch.eye(len(kept), dtype=torch.float64) - kept @ kept.mT

    editors = sequence.make_editors(base, moments, variants["adam"])
    unedited = {layer: editor.state() for layer, editor in editors.items()}

    def ours(variant: Variant) -> None:
        for layer, editor in editors.items():
            editor.load(unedited[layer])
        writing.write_batch(lm, editors, variant, facts, TEMPLATES)

    calls: dict[str, Callable[[], None]] = {
        PUBLISHED: lambda: plain.alphaedit_batch(lm, facts, TEMPLATES, published, projectors),
        "ours, adam": lambda: ours(variants["adam"]),
        "ours, margin": lambda: ours(variants["margin"]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    written = {}
    ours(variants["margin"])  # finds the null spaces, once per run, as the projectors above
    for _ in range(repeats):
        for name, call in calls.items():
            for layer, weight in base.items():
                lm.write(layer, weight)
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
            written[name] = torch.cat([(lm.weight(i) - base[i]).flatten() for i in layers])
    agree("weights", written["ours, adam"], written[PUBLISHED], 1e-2)
    medians = {name: statistics.median(times) / len(facts) for name, times in seconds.items()}
    return [
        {"procedure": name, "seconds_per_fact": value, "ratio": medians[PUBLISHED] / value}
        for name, value in medians.items()
    ]


def program(args: argparse.Namespace) -> None:
    rows = compare(model(), LAYERS, FACTS, args.repeats)
    files.write_json(args.out, rows)
    for row in rows:
        logger.info("%(procedure)-20s %(seconds_per_fact)7.2f s a fact, %(ratio)5.1f times", row)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--out", required=True, help="JSON file to write")
    programs.run(program, parser)
