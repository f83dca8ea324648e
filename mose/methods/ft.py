"""Fine-tuning of the edited projections on the new objects (FT, and FT with a norm constraint).

Adam on W, the mean negative log-likelihood of the new object's tokens after the edit prompt as
loss, a fresh optimiser for every batch. With `norm_constraint` no entry of W moves further than
that in one batch (Zhu et al. 2020, arXiv 2012.00363). Options: mose.options.FineTuneOptions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.methods.base import GradientEditor
from mose.moments import SecondMoment
from mose.options import FineTuneOptions


class FineTuneEditor(GradientEditor):
    """The state is the edited weight."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: FineTuneOptions
    ) -> None:
        self._weight = weight.to(torch.float32).clone()
        self._bound = options.norm_constraint
        self._trained = self._weight

    @property
    def weight(self) -> Tensor:
        return self._weight

    def trainable(self) -> Tensor:
        self._trained = self._weight.clone().requires_grad_()
        return self._trained

    def trained(self) -> Tensor:
        return self._trained

    @torch.no_grad()
    def constrain(self) -> None:
        if self._bound is not None:
            low, high = self._weight - self._bound, self._weight + self._bound
            self._trained.copy_(self._trained.clamp(low, high))

    def finish(self) -> None:
        self._weight = self._trained.detach()

    def state(self) -> dict[str, Tensor]:
        return {"weight": self._weight}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._weight = state["weight"]
