"""REVIVE (Zhang et al., ACL 2026, arXiv 2601.11042): keep updates out of W_0's dominant subspaces.

With the singular vectors U, V of the unedited weight W_0 and the fewest leading ones, k, that hold
the share `energy` of its squared singular values,

    Delta <- (I - U_k U_k^T) Delta (I - V_k V_k^T)

so that only components of Delta between minor directions on both sides are written. Directions of
the input that W_0 maps to zero count as minor. All layers' Deltas are computed before the first is
filtered, as in RECT. Options: ReviveOptions.
"""

from functools import cached_property

import torch
from torch import Tensor

from mose.linalg.spectrum import leading_count
from mose.methods.base import AdditiveEditor, DeferredWrapper
from mose.methods.wrapper_options import ReviveOptions


def dominant_directions(weight: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """U_k (d_out, k), V_k (d_in, k) of a weight (d_out, d_in), float64."""
    u, s, vh = torch.linalg.svd(weight.to(torch.float64), full_matrices=False)
    count = leading_count(s.square(), energy)
    return u[:, :count], vh[:count].mT


class ReviveEditor(DeferredWrapper):
    """Filters a batch's change by the dominant directions of the unedited weight."""

    def __init__(self, base: AdditiveEditor, options: ReviveOptions) -> None:
        super().__init__(base)
        self._unedited, self._energy = base.weight, options.energy

    @cached_property
    def _dominant(self) -> tuple[Tensor, Tensor]:
        # Slow, and reading a checkpoint does not need it.
        return dominant_directions(self._unedited, self._energy)

    def reshape(self, change: Tensor, before: Tensor) -> Tensor:
        left, right = self._dominant
        change = change - left @ (left.mT @ change)
        return change - (change @ right) @ right.mT
