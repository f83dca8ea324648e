"""The anchor of NAS (arXiv 2602.02543): one length for all values written to a model.

It is the mean norm of the wanted values v* = v0 + delta of pilot edits, each optimised alone on the
unedited model. v0 is the edited projection's output at the subject's last token, delta a free value
target (`mose.editing.targets`). As in the authors' code, pilot edits use the bare prompt only, and
the largest 5 % of the norms are left out.
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

PROMPT_ONLY = ("{}",)
LEFT_OUT = 0.05
COLUMNS = ("request", "norm")


def measure(
    lm: CausalLM, requests: Sequence[EditRequest], variant: Variant, count: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Norms of the first `count` requests as rows (COLUMNS), and a summary with their anchor.

    variant: gives layers and target options; its `targets` are replaced by free ones.
    Raises ConfigError for methods without value targets and for layers that the model lacks.
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
    rows = [
        {"request": request.id, "norm": norm} for request, norm in zip(pilots, norms, strict=True)
    ]
    return rows, {
        "anchor": anchor,
        "layer": options.target_layer,
        "requests": len(pilots),
        "requests_asked_for": count,
        "left_out": left_out,
    }


def pilot_norms(
    lm: CausalLM, requests: Sequence[EditRequest], options: TargetOptions
) -> list[float]:
    """||v0 + delta|| of each request on the present model, in the model's units.

    Raises ValueError unless the options' targets are free.
    """
    if options.targets != "free":
        raise ValueError(f"norms are of free targets, found {options.targets}")
    layer = options.target_layer
    key = keys.collect(lm, requests, PROMPT_ONLY, [layer]).prompt_keys[layer].mT
    value = lm.project(layer, key.to(lm.weight(layer).dtype)).to("cpu", torch.float64)
    wanted = value + targets.optimise(lm, requests, PROMPT_ONLY, options).shift
    return [float(norm) for norm in torch.linalg.vector_norm(wanted, dim=1)]


def anchor_of(norms: Sequence[float]) -> tuple[float, int]:
    """Mean of n norms without the largest floor(n / 20), and how many were left out.

    Raises NumericalError for a norm that is not finite, ValueError for n = 0.
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
