"""Plain implementations of what the library does faster, for comparison of times.

They compute the same numbers as usually written: the whole model at every step, one request at a
time, one pass per layer, linear systems of the key's size.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mose.editing.targets import ESSENCE
from mose.facts.requests import EditRequest
from mose.methods.options import AlphaEditOptions, TargetOptions
from mose.models.causal_lm import CausalLM
from mose.models.tokens import encode_edit, encode_pair, pad


def value_target(
    lm: CausalLM,
    prompt: str,
    subject: str,
    target: str,
    templates: Sequence[str],
    options: TargetOptions,
) -> Tensor:
    """Free target (d_out,) of one request: whole model, head at all positions."""
    rows = [encode_edit(lm.tokenizer, t, prompt, subject, target) for t in templates]
    rows.append(encode_edit(lm.tokenizer, "{}", ESSENCE, subject))
    ids, mask = pad([[*row.prefix, *row.suffix] for row in rows])
    at = torch.tensor([len(row.prefix) for row in rows])
    row_numbers = torch.arange(len(rows))
    layer = options.layers[-1]
    delta = torch.zeros(lm.weight(layer).shape[0], requires_grad=True)
    adam = torch.optim.Adam([delta], lr=options.learning_rate)
    length, essence0 = torch.tensor(0.0), torch.tensor(0.0)

    def add(_module, _args, output):
        nonlocal length
        hidden = output[0] if isinstance(output, tuple) else output
        if step == 0:
            length = hidden[0, at[0]].detach().norm()
        hidden = hidden.clone()
        hidden[row_numbers, at] = hidden[row_numbers, at] + delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = lm.blocks[layer].register_forward_hook(add)
    for step in range(options.steps):
        log_probs = lm.model(ids, attention_mask=mask).logits.log_softmax(-1)
        nll = torch.stack(
            [
                -log_probs[i, [len(row.prefix) + a for a in row.read_at], row.target].mean()
                for i, row in enumerate(rows[:-1])
            ]
        ).mean()
        now = log_probs[-1, at[-1]]
        if step == 0:
            essence0 = now.detach()
        divergence = (now.exp() * (now - essence0)).sum()
        loss = nll + options.kl_weight * divergence
        loss = loss + options.weight_decay * delta.norm() / length**2
        if float(loss.detach()) < options.stop_loss or step == options.steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            delta *= (options.clamp * length / delta.norm()).clamp(max=1)
    hook.remove()
    return delta.detach()


@torch.no_grad()
def log_probs_of_record(lm: CausalLM, request: EditRequest) -> list[float]:
    """Log probabilities of new and true object (neighbours have their own) after every prompt of a
    record: whole model on one padded batch, a row per pair."""
    prompts = [(request.text, request.target_true)]
    prompts += [(text, request.target_true) for text in request.paraphrases]
    prompts += [(probe.prompt, probe.target) for probe in request.locality]
    pairs = [
        encode_pair(lm.tokenizer, text, target)
        for text, true in prompts
        for target in (request.target_new, true)
    ]
    ids, mask = pad([[*prompt, *target] for prompt, target in pairs])
    log_probs = lm.model(ids, attention_mask=mask).logits.log_softmax(-1)
    return [
        float(log_probs[i, range(len(p) - 1, len(p) + len(t) - 1), t].sum())
        for i, (p, t) in enumerate(pairs)
    ]


@torch.no_grad()
def second_moment(lm: CausalLM, windows: Tensor, layer: int) -> Tensor:
    """Sum of k k^T (d_in, d_in) of one layer: whole model, head included."""
    total = torch.zeros(lm.weight(layer).shape[1], lm.weight(layer).shape[1], dtype=torch.float64)

    def add(_module, args):
        keys = args[0][:, 1:].reshape(-1, args[0].shape[-1]).double()
        total.add_(keys.mT @ keys)

    hook = lm.projection(layer).register_forward_pre_hook(add)
    for rows in windows.split(16):
        lm.model(rows)
    hook.remove()
    return total


def memit_delta(keys: Tensor, residuals: Tensor, moment: Tensor, retention_weight: float) -> Tensor:
    """Delta (d_out, d_in) by the d_in x d_in system, solved for each batch."""
    system = retention_weight * moment + keys @ keys.mT
    return residuals @ torch.linalg.solve(system, keys).mT


def emmet_delta(
    keys: Tensor, residuals: Tensor, moment: Tensor, weight: float, relaxation: float
) -> Tensor:
    """Delta (d_out, d_in) by the inverse of the weighted second moment, for each batch."""
    inverse = torch.linalg.inv(weight * moment)
    gram = keys.mT @ inverse @ keys + relaxation * torch.eye(keys.shape[1], dtype=keys.dtype)
    return residuals @ torch.linalg.inv(gram) @ keys.mT @ inverse


def alphaedit_delta(keys: Tensor, residuals: Tensor, projector: Tensor, ridge: float) -> Tensor:
    """Delta (d_out, d_in) by the d_in x d_in system, as the authors' code."""
    eye = torch.eye(len(projector), dtype=keys.dtype)
    system = projector @ (keys @ keys.mT) + ridge * eye
    return torch.linalg.solve(system, projector @ keys @ residuals.mT).mT


@torch.no_grad()
def at_subjects(
    lm: CausalLM, requests: Sequence[EditRequest], template: str, layer: int
) -> tuple[Tensor, Tensor]:
    """Inputs of one layer's projection (n, d_in) and outputs of its block (n, d_out) at the
    subjects' last tokens: whole model, head included, one padded batch."""
    rows = [
        encode_edit(lm.tokenizer, template, r.prompt, r.subject, r.target_new) for r in requests
    ]
    ids, mask = pad([[*row.prefix, *row.suffix] for row in rows])
    at = torch.tensor([len(row.prefix) for row in rows])
    seen = {}
    hooks = [
        lm.projection(layer).register_forward_pre_hook(
            lambda _module, args: seen.update(keys=args[0])
        ),
        lm.blocks[layer].register_forward_hook(
            lambda _module, _args, out: seen.update(out=out[0] if isinstance(out, tuple) else out)
        ),
    ]
    lm.model(ids, attention_mask=mask)
    for hook in hooks:
        hook.remove()
    numbers = torch.arange(len(rows))
    return seen["keys"][numbers, at].double(), seen["out"][numbers, at].double()


def alphaedit_batch(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    options: AlphaEditOptions,
    projectors: Mapping[int, Tensor],
) -> None:
    """Edit a batch as AlphaEdit's code does: targets one by one, then layer by layer keys, what is
    missing at the last layer, and a system of the key's size."""
    last = options.layers[-1]
    shifts = torch.stack(
        [value_target(lm, r.prompt, r.subject, r.target_new, templates, options) for r in requests]
    )
    wanted = at_subjects(lm, requests, "{}", last)[1] + shifts
    for place, layer in enumerate(options.layers):
        bare, *others = (at_subjects(lm, requests, t, layer)[0] for t in templates)
        keys = (bare + torch.stack(others).mean(0)) / 2
        missing = wanted - at_subjects(lm, requests, "{}", last)[1]
        share = missing / (len(options.layers) - place)
        delta = alphaedit_delta(keys.mT, share.mT, projectors[layer], options.ridge)
        with torch.no_grad():
            lm.weight(layer).add_(delta.to(lm.weight(layer).dtype))
