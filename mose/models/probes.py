"""Numerical checks that a model fulfils the assumptions of the editing methods.

Module names of `mose.models.architectures` may be wrong for variants of a class, and those of a
model's file for any model. So every model is checked on a few tokens.
"""

import torch
from torch import Tensor, nn

from mose.errors import ModelError
from mose.models import post_norms
from mose.models.causal_lm import CausalLM

TEXT = "The quick brown fox jumps over"
LOGITS_TOLERANCE = 1e-3
# bfloat16 rounds a sum by 2^-8 of its larger term. A norm or factor changes the sum far more.
SUM_TOLERANCE = 0.05
MATRIX_TOLERANCE = 0.02


def check_editable(lm: CausalLM, where: str) -> None:
    """Raise ModelError if partial passes, the edited matrix or the residual sum are wrong.

    where: name of the model in errors.
    """
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]])
    _check_partial_passes(lm, ids, where)
    for layer in sorted({0, lm.n_layers // 2, lm.n_layers - 1}):
        _check_matrix(lm, ids, layer, where)
        _check_sum(lm, ids, layer, where)


@torch.no_grad()
def _check_partial_passes(lm: CausalLM, ids: Tensor, where: str) -> None:
    """Blocks, norm and head, run separately, give the model's logits."""
    mask = torch.ones_like(ids)
    logits = lm.model(ids.to(lm.device), attention_mask=mask.to(lm.device)).logits
    error = float((lm.head(lm.hidden(ids, mask)) - logits).abs().max())
    if not error <= LOGITS_TOLERANCE * float(logits.abs().max()):
        raise ModelError(
            f"{where}: blocks, norm and head run one by one give other logits than the model "
            f"(off by {error:.2g}); this variant of the architecture cannot be edited"
        )


@torch.no_grad()
def _check_matrix(lm: CausalLM, ids: Tensor, layer: int, where: str) -> None:
    """The projection returns `lm.weight` (d_out, d_in) times the key, plus its bias."""
    keys = lm.truncated(ids, torch.ones_like(ids), [layer]).inputs[layer][0]
    weight = lm.weight(layer)
    module = f"{where}: architecture.projection {lm.architecture.projection!r} in block {layer}"
    transposed = "false" if lm.architecture.transposed else "true"
    advice = f"name the MLP's output projection, or set architecture.transposed: {transposed}"
    if weight.shape[1] != keys.shape[1]:
        raise ModelError(
            f"{module} has keys of {keys.shape[1]} entries, and its matrix is "
            f"{tuple(weight.shape)}, expected (d_out, {keys.shape[1]}); {advice}"
        )
    projected = lm.project(layer, keys)
    bias = getattr(lm.projection(layer), "bias", None)
    expected = nn.functional.linear(keys.to(weight), weight, bias).to(projected)
    if not _close(projected, expected, MATRIX_TOLERANCE):
        raise ModelError(f"{module}: its output is not its matrix times the key; {advice}")


@torch.no_grad()
def _check_sum(lm: CausalLM, ids: Tensor, layer: int, where: str) -> None:
    """A change of the projection's output is added to the block's output: unchanged, or after
    `post_norm` if the class has one."""
    mask = torch.ones_like(ids)
    trace = lm.truncated(ids, mask, [layer])
    before = trace.hidden
    name = lm.architecture.post_norm
    message = (
        f"{where}: a change of the output of {lm.architecture.projection!r} in block {layer} does "
        f"not change the block's output by the same vector{f' behind {name!r}' if name else ''} "
        "(a norm or a factor is in between, or it is another module); name an RMS norm as "
        "architecture.post_norm; a model with anything else there cannot be edited"
    )
    if lm.weight(layer).shape[0] != before.shape[-1]:
        raise ModelError(message)
    values = lm.project(layer, trace.inputs[layer])
    signs = torch.ones_like(before)
    signs[..., ::2] = -1
    # Large enough to be seen beside what it is added to.
    added = signs * (values if name else before).square().mean(-1, keepdim=True).sqrt()

    def add(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + added.view_as(output).to(output)

    hook = lm.projection(layer).register_forward_hook(add)
    try:
        change = lm.truncated(ids, mask, [layer]).hidden - before
    finally:
        hook.remove()
    expected = post_norms.through(lm, layer, values, added)
    if not _close(change, expected, SUM_TOLERANCE, _rounding(before)):
        raise ModelError(message)
    _check_post_norm(lm, layer, values, where)


@torch.no_grad()
def _check_post_norm(lm: CausalLM, layer: int, values: Tensor, where: str) -> None:
    """The post norm scales the projection's output `values` and multiplies it by gains."""
    norm = lm.post_norm(layer)
    if norm is None:
        return
    gains = post_norms.gains(lm, layer).to(values)
    actual, expected = (
        nn.functional.normalize(t.float(), dim=-1) for t in (norm(values), gains * values)
    )
    if not _close(actual, expected, MATRIX_TOLERANCE):
        raise ModelError(
            f"{where}: architecture.post_norm {lm.architecture.post_norm!r} in block {layer} is no "
            "RMS norm (a mean or a bias?); such a model cannot be edited"
        )


def _rounding(hidden: Tensor) -> Tensor:
    """Norm, per token, of the rounding of a sum stored in the dtype of `hidden`."""
    return torch.finfo(hidden.dtype).eps * hidden.to(torch.float32).norm(dim=-1)


def _close(
    actual: Tensor, expected: Tensor, tolerance: float, rounding: Tensor | float = 0.0
) -> bool:
    """Whether, for each token, the difference is small relative to the expected vector's norm.

    rounding: what is allowed beside it.
    """
    difference = (actual - expected).to(torch.float32).norm(dim=-1)
    bound = tolerance * expected.to(torch.float32).norm(dim=-1) + rounding
    return bool((difference <= bound).all())
