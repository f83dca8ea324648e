"""Choice of layers to rotate: how fast a rotation can lower the target loss, to first order.

For a request and a layer let k be the key at the subject's last token of the edit prompt, y = W k,
and g the gradient of the mean NLL of the new object's tokens with respect to y. Rotating the output
by a small angle moves y by angle x ||y|| perpendicular to y, so the steepest rotation lowers the
loss by

    ||y|| ||g - (g.y / ||y||^2) y||    nats per radian  ("output")

and a rotation of the input by ||k|| ||h - (h.k / ||k||^2) k|| with h = W^T g ("input").
One forward and one backward pass score all layers: a first-order Taylor expansion, as in
attribution patching (Nanda 2023; Syed et al. 2023, arXiv 2310.10348). The rule itself is ours.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mose.facts.requests import EditRequest, check_requests
from mose.models.causal_lm import CausalLM
from mose.models.losses import mean_nll
from mose.models.tokens import EditTokens, batches_by_length, encode_edit, pad

logger = logging.getLogger(__name__)

SIDES = ("output", "input")
COLUMNS = ("side", "layer", "score", "standard_error", "proposed", "requests")


def first_order_scores(
    lm: CausalLM, requests: Sequence[EditRequest], tokens_per_pass: int = 512
) -> dict[str, Tensor]:
    """Per side, scores (n, layers) float64, nats per radian, of all requests in bare prompts."""
    check_requests(requests)
    rows = [
        encode_edit(lm.tokenizer, "{}", request.prompt, request.subject, request.target_new)
        for request in requests
    ]
    scores = {side: torch.empty(len(rows), lm.n_layers, dtype=torch.float64) for side in SIDES}
    lengths = [len(row.prefix) + len(row.suffix) for row in rows]
    for group in batches_by_length(lengths, tokens_per_pass):
        keys, gradients = _keys_and_gradients(lm, [rows[i] for i in group])
        for layer in range(lm.n_layers):
            weight = lm.weight(layer).to("cpu", torch.float64)
            key, gradient = keys[layer], gradients[layer]
            scores["output"][group, layer] = steepest(key @ weight.mT, gradient)
            scores["input"][group, layer] = steepest(key, gradient @ weight)
    return scores


def score_rows(
    lm: CausalLM, requests: Sequence[EditRequest]
) -> list[dict[str, str | int | float | bool]]:
    """One row (COLUMNS) per side and layer: mean score, standard error over the requests, and
    whether the layer is among the proposed ones (`propose`)."""
    rows: list[dict[str, str | int | float | bool]] = []
    for side, scores in first_order_scores(lm, requests).items():
        means = scores.mean(0).tolist()
        errors = (scores.std(0) / len(requests) ** 0.5).tolist()
        proposed = propose(means)
        logger.info("%s: best layer %d, proposed %s", side, means.index(max(means)), proposed)
        for layer, (mean, error) in enumerate(zip(means, errors, strict=True)):
            values = (side, layer, mean, error, layer in proposed, len(requests))
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def steepest(point: Tensor, gradient: Tensor) -> Tensor:
    """||p|| ||g_perp|| over the last dimension: the steepest slope on the sphere through p, per
    radian."""
    length = torch.linalg.vector_norm(point, dim=-1, keepdim=True)
    unit = point / length
    tangent = gradient - (gradient * unit).sum(-1, keepdim=True) * unit
    return length[..., 0] * torch.linalg.vector_norm(tangent, dim=-1)


def propose(means: Sequence[float], count: int = 3) -> list[int]:
    """`count` consecutive layers centred on the one with the largest mean score, shifted inwards
    at either end of the model."""
    best = max(range(len(means)), key=lambda layer: means[layer])
    first = min(max(best - count // 2, 0), max(len(means) - count, 0))
    return list(range(first, min(first + count, len(means))))


def _keys_and_gradients(
    lm: CausalLM, rows: Sequence[EditTokens]
) -> tuple[list[Tensor], list[Tensor]]:
    """Per layer, keys (B, d_in) and loss gradients (B, d_out) at the subject's last token."""
    ids, mask = pad([[*row.prefix, *row.suffix] for row in rows])
    at = torch.tensor([len(row.prefix) for row in rows], device=lm.device)
    row_numbers = torch.arange(len(rows), device=lm.device)
    keys: dict[int, Tensor] = {}
    probes = [
        torch.zeros(
            len(rows),
            lm.weight(layer).shape[0],
            device=lm.weight(layer).device,
            dtype=lm.weight(layer).dtype,
        ).requires_grad_()
        for layer in range(lm.n_layers)
    ]

    def watch(layer: int) -> list[torch.utils.hooks.RemovableHandle]:
        def keep_key(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].detach().reshape(*ids.shape, -1)
            places = row_numbers.to(inputs.device), at.to(inputs.device)
            keys[layer] = inputs[places].to("cpu", torch.float64)

        def add_probe(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            outputs = output.reshape(*ids.shape, -1)
            places = row_numbers.to(outputs.device), at.to(outputs.device)
            return outputs.index_put(places, probes[layer], accumulate=True).view_as(output)

        module = lm.projection(layer)
        return [module.register_forward_pre_hook(keep_key), module.register_forward_hook(add_probe)]

    hooks = [hook for layer in range(lm.n_layers) for hook in watch(layer)]
    try:
        final = lm.hidden_with(ids, mask, {})
    finally:
        for hook in hooks:
            hook.remove()
    places = [[len(row.prefix) + at for at in row.read_at] for row in rows]
    mean_nll(lm, final, places, [row.target for row in rows]).sum().backward()
    gradients = [probe.grad for probe in probes]
    return (
        [keys[layer] for layer in range(lm.n_layers)],
        [g.to("cpu", torch.float64) for g in gradients if g is not None],
    )
