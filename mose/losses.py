"""The loss that every method starts from: how unlikely a model finds a target."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mose.model import CausalLM


def mean_nll(
    lm: CausalLM,
    final: Tensor,
    places: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
) -> Tensor:
    """Mean negative log-likelihood of each row's target tokens (B,), nats, differentiable.

    final: (B, T, d_model), the last block's output. places: per row, the positions whose next
    tokens are the row's `targets`. The head runs at these positions only.
    """
    row = torch.tensor([i for i, ids in enumerate(targets) for _ in ids], device=lm.device)
    place = torch.tensor([at for own in places for at in own], device=lm.device)
    wanted = torch.tensor([token for ids in targets for token in ids], device=lm.device)
    share = torch.tensor([1 / len(ids) for ids in targets for _ in ids], device=lm.device)
    nll = cross_entropy(lm.head(final[row, place]).float(), wanted, reduction="none")
    return torch.zeros(len(targets), device=lm.device).index_add(0, row, nll * share)
