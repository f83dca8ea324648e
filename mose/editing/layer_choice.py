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
from torch import Tensor

from mose.facts.requests import EditRequest, check_requests
from mose.models.causal_lm import CausalLM
from mose.models.gradients import ScoredRow, keys_and_gradients
from mose.models.tokens import EditTokens, batches_by_length, encode_edit

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
        members = [rows[i] for i in group]
        found = keys_and_gradients(
            lm,
            [_scored(row) for row in members],
            [1.0] * len(members),
            [[len(row.prefix)] for row in members],
            range(lm.n_layers),
        )
        for layer in range(lm.n_layers):
            weight = lm.weight(layer).to("cpu", torch.float64)
            key, gradient = found.keys[layer], found.gradients[layer]
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


def _scored(row: EditTokens) -> ScoredRow:
    start = len(row.prefix)
    return ScoredRow([*row.prefix, *row.suffix], [start + at for at in row.read_at], row.target)
