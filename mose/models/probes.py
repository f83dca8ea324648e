"""Numerical checks that a model fulfils the assumptions of the editing methods.

Module names of `mose.models.architectures` may be wrong for variants of a class, and those of a
model's file for any model. So every model is checked on a few tokens.
"""

import torch
from torch import Tensor, nn

from mose.errors import ModelError
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
    """A vector added to the projection's output is added unchanged to the block's output."""
    mask = torch.ones_like(ids)
    before = lm.truncated(ids, mask, [layer]).hidden
    message = (
        f"{where}: a change of the output of {lm.architecture.projection!r} in block {layer} does "
        "not change the block's output by the same vector (a norm or a factor is in between, or "
        "it is another module); such a model cannot be edited"
    )
    if lm.weight(layer).shape[0] != before.shape[-1]:
        raise ModelError(message)
    signs = torch.ones_like(before)
    signs[..., ::2] = -1
    added = signs * before.square().mean(-1, keepdim=True).sqrt()

    def add(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + added.view_as(output).to(output)

    hook = lm.projection(layer).register_forward_hook(add)
    try:
        change = lm.truncated(ids, mask, [layer]).hidden - before
    finally:
        hook.remove()
    if not _close(change, added, SUM_TOLERANCE):
        raise ModelError(message)


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether, for each token, the difference is small relative to the expected vector's norm."""
    difference = (actual - expected).to(torch.float32).norm(dim=-1)
    return bool((difference <= tolerance * expected.to(torch.float32).norm(dim=-1)).all())
