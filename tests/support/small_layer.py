"""Random problems on plain tensors, and one row per form of every closed-form method."""

import torch

from mose.linalg.orthogonal import on_sphere
from mose.methods.editors import make_editor
from mose.methods.register import parse_variant

D_OUT, D_IN = 20, 32

REACHABLE = {"method": "mose", "targets": "reachable"}
CLOSED_FORM = {
    "rome": {"method": "rome"},
    "r-rome": {"method": "r-rome"},
    "memit": {"method": "memit"},
    "memit-keys": {"method": "memit", "memory": "keys"},
    "emmet": {"method": "emmet"},
    "encore": {"method": "encore", "norm_weight": 1.0},
    "alphaedit": {"method": "alphaedit", "null_threshold": 0.3, "ridge": 0.1},
    "alphaedit-energy": {"method": "alphaedit", "null_space": "energy", "null_energy": 0.8},
    "betaedit": {"method": "betaedit", "null_threshold": 0.3, "ridge": 0.1, "refresh": 4},
    "evoedit": {"method": "evoedit", "null_threshold": 0.3, "ridge": 0.1},
    "lyaplock": {"method": "lyaplock", "allowance": 1.2},
    "rect": {"method": "rect"},
    "prune": {"method": "prune"},
    "sphere": {"method": "sphere"},
    "sphere-alphaedit": {"method": "sphere", "base": "alphaedit", "null_threshold": 0.3},
    "isospectral": {"method": "isospectral", "memory": "keys"},
    "isospectral-alphaedit": {"method": "isospectral", "base": "alphaedit", "null_threshold": 0.3},
    "revive": {"method": "revive", "energy": 0.3},
    "rect-aligned": {"method": "rect-aligned", "memory": "keys"},
    "prune-aligned": {"method": "prune-aligned", "base": "encore", "norm_weight": 1.0},
    "output-free": {"method": "mose"},
    "output-free-accumulate": {"method": "mose", "memory": "accumulate"},
    "output-reachable": REACHABLE,
    "output-reachable-accumulate": {**REACHABLE, "memory": "accumulate"},
    "both": {"method": "mose", "side": "both"},
    "both-accumulate": {"method": "mose", "side": "both", "memory": "accumulate"},
    "both-nearest": {"method": "mose", "side": "both", "solver": "nearest"},
    "both-protect": {"method": "mose", "side": "both", "memory": "accumulate", "protect": 0.2},
    "input": {**REACHABLE, "side": "input"},
    "input-accumulate": {**REACHABLE, "side": "input", "memory": "accumulate"},
}
ROTATIONS = [name for name, entry in CLOSED_FORM.items() if entry["method"] == "mose"]
WITHOUT_LAMBDA = ("rome", "r-rome", "alphaedit", "evoedit")


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def make(name, weight, moment, retention=0.5, **changed):
    """A fresh editor of one form, and its options."""
    entry = {**CLOSED_FORM[name], "layers": [3], "learning_rate": 0.1, **changed}
    if entry.get("base", entry["method"]) not in WITHOUT_LAMBDA:
        entry["lambda"] = retention
    variant = parse_variant(entry)
    return make_editor(weight, moment, variant), variant.edit


def batch(editor, options, n=4, seed=5):
    """Keys, and residuals of the kind the variant's targets give."""
    n = 1 if options.ONE_BY_ONE else n
    keys, shift = draw(D_IN, n, seed=seed), draw(max(D_IN, D_OUT), n, seed=seed + 100)
    if options.target_space == "free":
        return keys, shift[:D_OUT]
    base = editor.weight.to(torch.float64) @ keys if options.target_space == "value" else keys
    return keys, on_sphere(base.mT, shift[: len(base)].mT).mT - base
