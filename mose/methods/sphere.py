"""SPHERE (arXiv 2510.01172): keep updates away from the weight's main directions.

With W^ the weight before the update, its rows normalised, and U the leading eigenvectors of
W^T W^ (inputs) that hold the share eta of its trace,

    Delta <- Delta (I - alpha U U^T)

applied to every update of any additive method, with the weight as it is then.
Options: SphereOptions (`strength` is alpha, `energy` is eta).
"""

import torch
from torch import Tensor

from mose.methods.base import AdditiveEditor, WrappedEditor
from mose.methods.options import SphereOptions


def main_directions(weight: Tensor, energy: float) -> Tensor:
    """U (d_in, r): the fewest leading right singular vectors of the row-normalised weight
    (d_out, d_in) whose squared singular values hold the share `energy`."""
    rows = weight.to(torch.float64)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # The d_out x d_out side is the smaller one: V = W^T U / s.
    values, left = torch.linalg.eigh(rows @ rows.mT)
    values, left = values.flip(0).clamp(min=0), left.flip(1)
    count = int((values.cumsum(0) / values.sum() < energy).sum()) + 1
    return rows.mT @ left[:, :count] / values[:count].sqrt()


class SphereEditor(WrappedEditor):
    """Projects each change right after it was made."""

    def __init__(self, base: AdditiveEditor, options: SphereOptions) -> None:
        super().__init__(base)
        self._options = options

    def update(self, keys: Tensor, residuals: Tensor, bare: Tensor | None = None) -> None:
        before = self.base.weight.to(torch.float64)
        super().update(keys, residuals, bare)
        change = self.base.weight.to(torch.float64) - before
        main = main_directions(before, self._options.energy)
        change = change - self._options.strength * (change @ main) @ main.mT
        self.base.put(before + change)
