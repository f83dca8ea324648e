"""Negative log-likelihood of targets, and the check that losses are finite."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mose.errors import NumericalError
from mose.models.causal_lm import CausalLM


def mean_nll(
    lm: CausalLM,
    final: Tensor,
    places: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
) -> Tensor:
    """Mean negative log-likelihood (B,) of each row's target tokens, in nats, differentiable.

    final: (B, T, d_model), the last block's output. places: per row, the positions whose next
    tokens are the row's `targets`. The head runs at these positions only.
    """
    row = torch.tensor([i for i, ids in enumerate(targets) for _ in ids], device=lm.device)
    place = torch.tensor([i for row_places in places for i in row_places], device=lm.device)
    target = torch.tensor([token for ids in targets for token in ids], device=lm.device)
    weight = torch.tensor([1 / len(ids) for ids in targets for _ in ids], device=lm.device)
    nll = cross_entropy(lm.head(final[row, place]).float(), target, reduction="none")
    return torch.zeros(len(targets), device=lm.device).index_add(0, row, nll * weight)


def check_finite(
    loss: Tensor, names: Sequence[str], where: str, step: int, learning_rate: float, first: str
) -> None:
    """Raise NumericalError, naming the request, if any loss (n,) is NaN or infinite.

    names: of the n requests. where: the layers. step: counted from 1. Before the first update the
    learning rate cannot be the cause; then `first` names the likely one.
    """
    not_finite = (~torch.isfinite(loss)).nonzero()
    if not len(not_finite):
        return
    advice = f"lower learning_rate (now {learning_rate})"
    if step == 1:
        advice = (
            f"nothing was learned for it yet, so {first}: if earlier edits broke the model, end "
            "the chain before them or hold it more tightly (lambda, fewer edits)"
        )
    raise NumericalError(
        f"the loss of request {names[int(not_finite[0])]} at {where} is not finite at step {step}; "
        f"{advice}"
    )
