"""One variant of every method for tests of the loop, and what a sequence of them needs."""

import dataclasses
from functools import cache

import numpy as np
import tiny

from mose.editing import checkpoints
from mose.linalg import second_moment
from mose.methods.register import parse_variant
from mose.statistics import second_moments

MEMIT = {"method": "memit", "layers": [1, 2], "lambda": 0.05}
VARIANTS = {
    "memit": MEMIT,
    "memit-keys": {**MEMIT, "memory": "keys"},
    "mose": {"method": "mose", "layers": [1, 2], "lambda": 0.05},
    "mose-accumulate": {"method": "mose", "memory": "accumulate", "layers": [1, 2], "lambda": 0.05},
    "mose-output": {
        "method": "mose",
        "targets": "reachable",
        "memory": "accumulate",
        "layers": [1],
        "lambda": 0.05,
    },
    "mose-output-product": {
        "method": "mose",
        "targets": "reachable",
        "layers": [1],
        "lambda": 0.05,
    },
    "mose-input": {
        "method": "mose",
        "side": "input",
        "targets": "reachable",
        "memory": "accumulate",
        "layers": [1],
        "lambda": 0.05,
    },
    "mose-input-product": {
        "method": "mose",
        "side": "input",
        "targets": "reachable",
        "layers": [1],
        "lambda": 0.05,
    },
    "mose-both": {
        "method": "mose",
        "side": "both",
        "memory": "accumulate",
        "layers": [1, 2],
        "lambda": 0.05,
    },
    "mose-both-product": {"method": "mose", "side": "both", "layers": [1, 2], "lambda": 0.05},
    "mose-both-protect": {
        "method": "mose",
        "side": "both",
        "memory": "accumulate",
        "protect": 0.2,
        "layers": [1, 2],
        "lambda": 0.05,
    },
    "memit-each-context": {**MEMIT, "memory": "keys", "contexts": "each"},
    "memit-forward": {**MEMIT, "spread": "forward"},
    "memit-each": {**MEMIT, "spread": "each"},
    "mose-both-forward": {
        "method": "mose",
        "side": "both",
        "memory": "accumulate",
        "spread": "forward",
        "layers": [1, 2],
        "lambda": 0.05,
    },
    "mose-output-each": {
        "method": "mose",
        "targets": "reachable",
        "memory": "accumulate",
        "spread": "each",
        "layers": [1, 2],
        "lambda": 0.05,
    },
    "memit-rescaled": {**MEMIT, "targets": "rescaled"},
    "emmet": {**MEMIT, "method": "emmet"},
    "encore": {**MEMIT, "method": "encore", "norm_weight": 0.01},
    "rome": {"method": "rome", "layers": [1]},
    "r-rome": {"method": "r-rome", "layers": [1]},
    "alphaedit": {"method": "alphaedit", "layers": [1, 2], "ridge": 0.01, "null_threshold": 1.0},
    "betaedit": {**MEMIT, "method": "betaedit", "ridge": 0.01, "null_threshold": 1.0, "refresh": 2},
    "evoedit": {"method": "evoedit", "layers": [1, 2], "ridge": 0.01, "null_threshold": 1.0},
    "lyaplock": {**MEMIT, "method": "lyaplock", "allowance": 1.2},
    "rect": {**MEMIT, "method": "rect"},
    "prune": {**MEMIT, "method": "prune"},
    "sphere": {**MEMIT, "method": "sphere"},
    "isospectral": {**MEMIT, "method": "isospectral", "memory": "keys"},
    "revive": {**MEMIT, "method": "revive", "energy": 0.2},
    "rect-aligned": {**MEMIT, "method": "rect-aligned", "memory": "keys"},
    "prune-aligned": {**MEMIT, "method": "prune-aligned", "base": "encore", "norm_weight": 0.01},
    "ft": {"method": "ft", "layers": [1], "learning_rate": 0.01},
    "ft-bound": {"method": "ft", "layers": [1], "learning_rate": 0.01, "norm_constraint": 0.01},
    "locft-bf": {"method": "locft-bf", "layers": [1], "learning_rate": 0.01, "minibatch": 3},
    "ultraedit": {"method": "ultraedit", "layers": [1, 2], "learning_rate": 1e-3},
    "stableedit": {
        "method": "stableedit",
        "layers": [1, 2],
        "learning_rate": 1e-2,
        "warm_up": 1,
    },
    "oft": {"method": "oft", "layers": [1, 2], "learning_rate": 0.05, "ball": 1.0},
}
# Of the method that changes no weights: it has tests of its own (tests/evaluation).
UNEDITED = {"method": "in-context", "layers": [1, 2]}
TRAINED = ("ft", "ft-bound", "locft-bf", "oft")
WITHOUT_STEPS = ("ultraedit", "stableedit")
WITHOUT_TARGETS = (*TRAINED, *WITHOUT_STEPS)


def parse(name, **changed):
    common = {} if name in WITHOUT_TARGETS else {"learning_rate": 0.2, "weight_decay": 0.0}
    if name in WITHOUT_STEPS:
        changed.pop("steps", None)
    else:
        common["steps"] = 8
    return parse_variant({**common, **VARIANTS[name], **changed})


@cache
def second_moments_of(kind):
    lm = tiny.model(kind)
    windows = np.random.default_rng(0).integers(1, 300, size=(60, 12)).astype(np.int32)
    sums, count = second_moments.accumulate(lm, windows, [1, 2], False)
    return {layer: second_moment.SecondMoment(total / count) for layer, total in sums.items()}


def identity(variant, **changed):
    known = checkpoints.Identity(variant, "tiny-llama-0", "moments", "templates", 0, 2)
    return dataclasses.replace(known, **changed)
