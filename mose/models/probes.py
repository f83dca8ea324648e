"""Whether a model can be edited: what the methods take for granted, tried out on a few tokens.

A class of the table of architectures may have variants, and a model's file may name any modules;
both are believed only if these probes agree.
"""

import torch
from torch import Tensor, nn

from mose.errors import ModelError
from mose.models.causal_lm import CausalLM

TEXT = "The quick brown fox jumps over"
LOGITS_TOLERANCE = 1e-3
# In bfloat16 a sum is off by 2^-8 of its larger term. A norm or a factor in between changes what is
# added by far more.
SUM_TOLERANCE = 0.05
MATRIX_TOLERANCE = 0.02


def check_editable(lm: CausalLM, where: str) -> None:
    """Refuse a model whose partial passes, edited matrix or residual sum would be wrong.

    where: names the model in errors. Raises ModelError.
    """
    ids = torch.tensor([lm.tokenizer(TEXT)["input_ids"]])
    _check_partial_passes(lm, ids, where)
    for layer in sorted({0, lm.n_layers // 2, lm.n_layers - 1}):
        _check_matrix(lm, ids, layer, where)
        _check_sum(lm, ids, layer, where)


@torch.no_grad()
def _check_partial_passes(lm: CausalLM, ids: Tensor, where: str) -> None:
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
    """W (d_out, d_in), as `lm.weight` gives it, times the key is what the projection returns."""
    keys = lm.truncated(ids, torch.ones_like(ids), [layer]).inputs[layer][0]
    weight = lm.weight(layer)
    named = f"{where}: architecture.projection {lm.architecture.projection!r} in block {layer}"
    turned = "false" if lm.architecture.transposed else "true"
    cure = f"name the MLP's output projection, or set architecture.transposed: {turned}"
    if weight.shape[1] != keys.shape[1]:
        raise ModelError(
            f"{named} has keys of {keys.shape[1]} entries, and its matrix is "
            f"{tuple(weight.shape)}, expected (d_out, {keys.shape[1]}); {cure}"
        )
    projected = lm.project(layer, keys)
    bias = getattr(lm.projection(layer), "bias", None)
    expected = nn.functional.linear(keys.to(weight), weight, bias).to(projected)
    if not _close(projected, expected, MATRIX_TOLERANCE):
        raise ModelError(f"{named} is not its matrix times the key; {cure}")


@torch.no_grad()
def _check_sum(lm: CausalLM, ids: Tensor, layer: int, where: str) -> None:
    """What is added to the projection's output is added to the block's output, unchanged."""
    mask = torch.ones_like(ids)
    before = lm.truncated(ids, mask, [layer]).hidden
    said = (
        f"{where}: what is added to the output of {lm.architecture.projection!r} in block {layer} "
        "is not what is added to the block's output (a norm or a factor is in between, or it is "
        "another module's); such a model cannot be edited"
    )
    if lm.weight(layer).shape[0] != before.shape[-1]:
        raise ModelError(said)
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
        raise ModelError(said)


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether the difference is small against the expected vector's length, token by token."""
    difference = (actual - expected).to(torch.float32).norm(dim=-1)
    return bool((difference <= tolerance * expected.to(torch.float32).norm(dim=-1)).all())
