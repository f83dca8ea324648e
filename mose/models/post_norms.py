"""The norm that some classes put between the edited projection and the residual stream.

Gemma 2 and 3, OLMo 2 and GLM-4 add N(W k) to the stream, with the RMS norm
N(y) = g * y / sqrt(mean(y^2) + eps). So the length of the projection's output hardly matters, and
a change of it does not reach the block's output as it is. Here one is turned into the other;
without such a norm both are the same, and the arguments are returned unchanged.
"""

import torch
from torch import Tensor

from mose.linalg.ellipsoid import nearest_direction
from mose.models.causal_lm import CausalLM


def through(lm: CausalLM, layer: int, values: Tensor, change: Tensor) -> Tensor:
    """Change (n, d) of the block's output when the projection's output changes by `change` (n, d).

    values: y (n, d), the projection's output before. With a norm, N(y + change) - N(y) in float32,
    on the device of `values`; differentiable in `change`.
    """
    norm = lm.post_norm(layer)
    if norm is None:
        return change
    # In the model's own precision a small difference would be mostly rounding.
    before, after = _at(norm, values), _at(norm, values + change)
    return (norm(after) - norm(before)).to(values.device)


@torch.no_grad()
def pulled_back(
    lm: CausalLM, layer: int, keys: Tensor, change: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """Change (d, n) of the projection's output that changes the block's output by `change` (d, n).

    keys: (d_in, n), whose outputs are to change. lengths: (n,), of the new outputs, which the norm
    leaves open; None: those of the present ones. Not every change is within the norm's reach: then
    the nearest one is taken (`mose.linalg.ellipsoid`). float64, on the host.
    """
    norm = lm.post_norm(layer)
    if norm is None:
        return change
    values = values_of(lm, layer, keys).mT
    wanted = norm(_at(norm, values)).to("cpu", torch.float64) + change.mT
    present = torch.linalg.vector_norm(values, dim=-1)
    unit = values / present[:, None]
    direction = nearest_direction(gains(lm, layer), wanted, unit * values.shape[1] ** 0.5)
    return ((present if lengths is None else lengths)[:, None] * direction - values).mT


@torch.no_grad()
def values_of(lm: CausalLM, layer: int, keys: Tensor) -> Tensor:
    """Output (d_out, n) float64 of the edited projection for keys (d_in, n), on the host."""
    rows = keys.mT.to(lm.weight(layer).dtype)
    return lm.project(layer, rows).mT.to("cpu", torch.float64)


@torch.no_grad()
def gains(lm: CausalLM, layer: int) -> Tensor:
    """g (d,) float64 of the norm behind the projection: its output for ones, up to eps."""
    norm = lm.post_norm(layer)
    if norm is None:
        raise ValueError(f"block {layer} has no norm behind its projection")
    parameter = next(norm.parameters())
    return norm(torch.ones(len(parameter), device=parameter.device)).to("cpu", torch.float64)


def _at(norm: torch.nn.Module, values: Tensor) -> Tensor:
    """`values` in float32 on the norm's device."""
    return values.to(next(norm.parameters()).device, torch.float32)
