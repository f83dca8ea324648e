"""The anchor of NAS (arXiv 2602.02543): one length for all values that are written to a model.

It is the mean length of the values that pilot edits ask for, v* = v0 + delta, each alone on the
unedited model, without outliers. v0 is the edited projection's output at the subject's last token
and delta a free value target (`mose.editing.targets`). As in the authors' code the pilot edits see
the bare prompt alone, and the largest twentieth of the lengths is left out.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from mose.editing import targets
from mose.errors import ConfigError, NumericalError
from mose.facts.requests import EditRequest
from mose.methods.options import TargetOptions, Variant
from mose.methods.register import parse_variant
from mose.models.causal_lm import CausalLM
from mose.statistics import keys

BARE = ("{}",)
LEFT_OUT = 0.05
COLUMNS = ("request", "norm")


def measure(
    lm: CausalLM, requests: Sequence[EditRequest], variant: Variant, count: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows (COLUMNS) of the first `count` requests, and their anchor with what it is of.

    variant: whose layers and target options; its targets are taken as free, whatever it does with
    them. Raises ConfigError for layers that the model does not have.
    """
    entry = {**variant.as_dict(), "targets": "free"}
    entry.pop("anchor", None)
    options = parse_variant(entry).edit
    if not isinstance(options, TargetOptions):
        raise ConfigError(f"method: {variant.method} has no value targets, so no anchor")
    lm.check_layers(options.layers, "methods.*.layers")
    pilots = requests[:count]
    norms = pilot_norms(lm, pilots, options)
    anchor, left_out = anchor_of(norms)
    rows = [{"request": one.id, "norm": norm} for one, norm in zip(pilots, norms, strict=True)]
    return rows, {
        "anchor": anchor,
        "layer": options.layers[-1],
        "requests": len(pilots),
        "requests_asked_for": count,
        "left_out": left_out,
    }


def pilot_norms(
    lm: CausalLM, requests: Sequence[EditRequest], options: TargetOptions
) -> list[float]:
    """||v0 + delta|| of each request on the model as it is, in its units.

    options: whose targets must be free. Raises ValueError for others.
    """
    if options.targets != "free":
        raise ValueError(f"norms are of free targets, found {options.targets}")
    layer = options.layers[-1]
    key = keys.collect(lm, requests, BARE, [layer]).prompt_keys[layer].mT
    value = lm.project(layer, key.to(lm.weight(layer).dtype)).to("cpu", torch.float64)
    asked = value + targets.optimise(lm, requests, BARE, options).shift
    return [float(norm) for norm in torch.linalg.vector_norm(asked, dim=1)]


def anchor_of(norms: Sequence[float]) -> tuple[float, int]:
    """The mean of all but the largest floor(n / 20) of n norms, and how many were left out.

    Raises NumericalError if one is not finite, and ValueError for none at all.
    """
    if not norms:
        raise ValueError("no norms to take an anchor from")
    for place, norm in enumerate(norms, 1):
        if not math.isfinite(norm):
            raise NumericalError(
                f"norm {place} of {len(norms)} is not finite; lower learning_rate, or run the "
                "model in float32 (dtype)"
            )
    left_out = math.floor(LEFT_OUT * len(norms))
    kept = sorted(norms)[: len(norms) - left_out]
    return math.fsum(kept) / len(kept), left_out
