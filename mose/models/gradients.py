"""Keys of edited projections, and gradients of targets' NLL with respect to their outputs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mose.models.causal_lm import CausalLM
from mose.models.losses import mean_nll
from mose.models.tokens import pad


class ScoredRow(NamedTuple):
    """A row of tokens, and the positions `read_at` whose next tokens are its `target`."""

    ids: Sequence[int]
    read_at: Sequence[int]
    target: Sequence[int]


class KeysAndGradients(NamedTuple):
    """By layer, keys (m, d_in) and gradients (m, d_out) at m places, float64 in host memory; and
    the mean NLL (B,) of each row's target, nats."""

    keys: dict[int, Tensor]
    gradients: dict[int, Tensor]
    losses: Tensor


def keys_and_gradients(
    lm: CausalLM,
    rows: Sequence[ScoredRow],
    weights: Sequence[float],
    places: Sequence[Sequence[int]],
    layers: Sequence[int],
) -> KeysAndGradients:
    """One forward and one backward pass; the model's weights get no gradients.

    The loss is the sum of each row's mean NLL times its weight. places: per row, the positions of
    keys and gradients; m of them in all, in the order of the rows.
    """
    ids, mask = pad([row.ids for row in rows])
    row_of = torch.tensor([i for i, own in enumerate(places) for _ in own])
    column = torch.tensor([place for own in places for place in own])
    keys: dict[int, Tensor] = {}
    probes = {layer: _zeros_like_outputs(lm.weight(layer), len(column)) for layer in layers}

    def watch(layer: int) -> list[RemovableHandle]:
        def keep_key(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].detach().reshape(*ids.shape, -1)
            at = row_of.to(inputs.device), column.to(inputs.device)
            keys[layer] = inputs[at].to("cpu", torch.float64)

        def add_probe(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            outputs = output.reshape(*ids.shape, -1)
            at = row_of.to(outputs.device), column.to(outputs.device)
            return outputs.index_put(at, probes[layer], accumulate=True).view_as(output)

        module = lm.projection(layer)
        return [module.register_forward_pre_hook(keep_key), module.register_forward_hook(add_probe)]

    hooks = [hook for layer in layers for hook in watch(layer)]
    try:
        final = lm.hidden_with(ids, mask, {})
    finally:
        for hook in hooks:
            hook.remove()
    losses = mean_nll(lm, final, [row.read_at for row in rows], [row.target for row in rows])
    (losses * torch.tensor(weights, device=losses.device)).sum().backward()
    gradients = {
        layer: probe.grad.to("cpu", torch.float64)
        for layer, probe in probes.items()
        if probe.grad is not None
    }
    return KeysAndGradients(keys, gradients, losses.detach())


def _zeros_like_outputs(weight: Tensor, count: int) -> Tensor:
    """Zeros (count, d_out) that require grad, for a weight (d_out, d_in)."""
    zeros = torch.zeros(count, weight.shape[0], device=weight.device, dtype=weight.dtype)
    return zeros.requires_grad_()
