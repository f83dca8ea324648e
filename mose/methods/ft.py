"""Fine-tuning of the edited projections on the new objects (FT, and FT with a norm constraint).

Adam on W with a new optimiser for every batch; the loss is the mean negative log-likelihood of the
new object's tokens after the edit prompt. `norm_constraint` bounds the change of every entry of W
in one batch (Zhu et al. 2020, arXiv 2012.00363). Options: FineTuneOptions.
"""

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import GradientEditor
from mose.methods.trained_options import FineTuneOptions


class FineTuneEditor(GradientEditor):
    """The parameter is the edited weight (d_out, d_in) float32."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: FineTuneOptions
    ) -> None:
        super().__init__(weight.to(torch.float32))
        self._bound = options.norm_constraint

    @property
    def weight(self) -> Tensor:
        return self._kept

    def trained(self) -> Tensor:
        return self._training

    @torch.no_grad()
    def constrain(self) -> None:
        if self._bound is not None:
            low, high = self._kept - self._bound, self._kept + self._bound
            self._training.copy_(self._training.clamp(low, high))
