"""Trained methods: Adam on the mean NLL of the new objects.

The loss has no term for old knowledge, no essence prompt and no templates, as in the field's code.
"""

import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mose.facts.requests import EditRequest, check_requests
from mose.methods.base import GradientEditor
from mose.methods.trained_options import TrainedOptions
from mose.models.causal_lm import CausalLM
from mose.models.losses import check_finite, mean_nll
from mose.models.tokens import encode_pair, end_of_text, pad


def train(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    requests: Sequence[EditRequest],
    options: TrainedOptions,
) -> tuple[int, list[float]]:
    """Train the editors' parameters on requests; returns (rounds, last loss per request in nats).

    A round takes a step of Adam for every `options.per_step` requests, in order, or in one that the
    round's number draws (`options.SHUFFLED`). Training ends after a round with a mean loss below
    stop_loss. The model's own weights do not change.
    Raises RequestError for wrong requests, NumericalError for a loss that is not finite.
    """
    check_requests(requests)
    rows = [encode_pair(lm.tokenizer, request.text, request.target_new) for request in requests]
    if options.ENDED:
        rows = [(prompt, [*target, end_of_text(lm.tokenizer)]) for prompt, target in rows]
    parameters = [editor.trainable() for editor in editors.values()]
    adam = torch.optim.Adam(parameters, lr=options.learning_rate)
    last_losses = [float("nan")] * len(rows)
    per_step = options.per_step or len(rows)
    rounds = step = 0
    for rounds in range(1, options.steps + 1):
        order = list(range(len(rows)))
        if options.SHUFFLED:
            random.Random(rounds).shuffle(order)
        for start in range(0, len(rows), per_step):
            step += 1
            members = order[start : start + per_step]
            losses = losses_of(lm, editors, [rows[i] for i in members])
            check_finite(
                losses,
                [requests[i].id for i in members],
                f"layers {', '.join(map(str, editors))} in round {rounds}",
                step,
                options.learning_rate,
                "look at dtype",
            )
            for i, loss in zip(members, losses.tolist(), strict=True):
                last_losses[i] = loss
            adam.zero_grad()
            losses.mean().backward()
            adam.step()
            for editor in editors.values():
                editor.constrain()
        if sum(last_losses) / len(last_losses) < options.stop_loss:
            break
    for editor in editors.values():
        editor.finish()
    return rounds, last_losses


def losses_of(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    rows: Sequence[tuple[list[int], list[int]]],
) -> Tensor:
    """Mean NLL (n,) of each row's target tokens, computed with the editors' weights."""
    ids, mask = pad([[*prompt, *target[:-1]] for prompt, target in rows])
    weights = {layer: editor.trained() for layer, editor in editors.items()}
    places = [range(len(prompt) - 1, len(prompt) - 1 + len(target)) for prompt, target in rows]
    return mean_nll(lm, lm.hidden_with(ids, mask, weights), places, [t for _, t in rows])
