"""Keys and gradients at the answers' tokens, for methods that edit by them.

As in training, the loss has no term for old knowledge, no essence prompt and no templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.facts.requests import EditRequest, check_requests
from mose.methods.signal_options import SignalOptions
from mose.models.causal_lm import CausalLM
from mose.models.gradients import ScoredRow, keys_and_gradients
from mose.models.losses import check_finite
from mose.models.tokens import encode_pair


@dataclass(frozen=True)
class Signals:
    """Of a batch's m places, the positions that its new objects' tokens are predicted from.

    keys: (d_in, m) float64, gradients: (d_out, m) float64, by layer; places in the order of the
    requests. losses: mean NLL per token of each request's new object, nats.
    """

    keys: dict[int, Tensor]
    gradients: dict[int, Tensor]
    losses: list[float]


def collect(lm: CausalLM, requests: Sequence[EditRequest], options: SignalOptions) -> Signals:
    """Signals of requests in the present model, at the edited layers.

    The loss is the mean NLL over all tokens of the new objects of `options.minibatch` requests.
    Raises RequestError for wrong requests, NumericalError for a loss that is not finite.
    """
    check_requests(requests)
    layers = options.layers
    parts, losses = [], []
    for start in range(0, len(requests), options.minibatch):
        members = requests[start : start + options.minibatch]
        rows = [_row(lm, request) for request in members]
        tokens = [len(row.target) for row in rows]
        weights = [count / sum(tokens) for count in tokens]
        part = keys_and_gradients(lm, rows, weights, [row.read_at for row in rows], layers)
        names = [request.id for request in members]
        where = f"layers {', '.join(map(str, layers))}"
        check_finite(part.losses, names, where, 1, 0.0, "look at dtype")
        parts.append(part)
        losses += part.losses.tolist()
    return Signals(
        {layer: torch.cat([part.keys[layer] for part in parts]).mT for layer in layers},
        {layer: torch.cat([part.gradients[layer] for part in parts]).mT for layer in layers},
        losses,
    )


def check(found: Signals) -> None:
    """Raise NumericalError, naming the layer, if a key or a gradient is not finite: it would stay
    in the running means of all later batches."""
    for what, by_layer in (("key", found.keys), ("gradient", found.gradients)):
        for layer, columns in by_layer.items():
            if not torch.isfinite(columns).all():
                raise NumericalError(
                    f"layer {layer}: a {what} is NaN or infinite; run the model in float32 "
                    "(dtype), or lower minibatch"
                )


def _row(lm: CausalLM, request: EditRequest) -> ScoredRow:
    prompt, target = encode_pair(lm.tokenizer, request.text, request.target_new)
    first = len(prompt) - 1
    return ScoredRow([*prompt, *target[:-1]], range(first, first + len(target)), target)
