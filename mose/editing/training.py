"""Methods that are trained: Adam on the mean NLL of the new objects.

Nothing retains old knowledge here: no essence prompt, no templates, as in the field's code.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mose.facts.requests import EditRequest, check_requests
from mose.methods.base import GradientEditor
from mose.methods.options import TrainedOptions
from mose.models.causal_lm import CausalLM
from mose.models.losses import check_finite, mean_nll
from mose.models.tokens import encode_pair, pad


def train(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    requests: Sequence[EditRequest],
    options: TrainedOptions,
) -> tuple[int, list[float]]:
    """Train the editors' parameters on requests; returns (rounds, last loss per request).

    One round takes a step of Adam for every `options.per_step` requests, in their order; the rounds
    end when the mean loss of one is below stop_loss. The model's own weights are not touched.
    Raises RequestError for requests that cannot be used.
    """
    check_requests(requests)
    rows = [encode_pair(lm.tokenizer, request.text, request.target_new) for request in requests]
    parameters = [editor.trainable() for editor in editors.values()]
    adam = torch.optim.Adam(parameters, lr=options.learning_rate)
    loss = [float("nan")] * len(rows)
    per_step = options.per_step or len(rows)
    done = step = 0
    for done in range(1, options.steps + 1):
        for start in range(0, len(rows), per_step):
            step += 1
            members = slice(start, start + per_step)
            losses = _losses(lm, editors, rows[members])
            check_finite(
                losses,
                [request.id for request in requests[members]],
                f"layers {', '.join(map(str, editors))} in round {done}",
                step,
                options.learning_rate,
                "look at dtype",
            )
            loss[members] = losses.tolist()
            adam.zero_grad()
            losses.mean().backward()
            adam.step()
            for editor in editors.values():
                editor.constrain()
        if sum(loss) / len(loss) < options.stop_loss:
            break
    for editor in editors.values():
        editor.finish()
    return done, loss


def _losses(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    rows: Sequence[tuple[list[int], list[int]]],
) -> Tensor:
    """Mean NLL of each row's target tokens (n,), with the editors' weights in the model."""
    ids, mask = pad([[*prompt, *target[:-1]] for prompt, target in rows])
    weights = {layer: editor.trained() for layer, editor in editors.items()}
    places = [range(len(prompt) - 1, len(prompt) - 1 + len(target)) for prompt, target in rows]
    return mean_nll(lm, lm.hidden_with(ids, mask, weights), places, [t for _, t in rows])
