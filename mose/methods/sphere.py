"""SPHERE (arXiv 2510.01172): keep updates away from the weight's main directions.

With W^ the weight before the update, its rows normalised, and U the leading eigenvectors of
W^T W^ (inputs) that hold the share eta of its trace,

    Delta <- Delta (I - alpha U U^T)

applied to every batch's change by any additive method. As in the authors' code, all layers' deltas
are computed before they are projected; with AlphaEdit as base each layer is projected before the
next is computed, so that deeper layers compensate. Their code also projects RECT's masked change
of MEMIT; that form is missing here, since a wrapper cannot be the base of another.
Options: SphereOptions (`strength` is alpha, `energy` is eta).
"""

import torch
from torch import Tensor

from mose.linalg.spectrum import leading_count
from mose.methods.base import AdditiveEditor, DeferredWrapper
from mose.methods.wrapper_options import SphereOptions

# Bases whose change is projected before the next layer's change is computed.
PROJECTED_AT_ONCE = {"alphaedit"}


def main_directions(weight: Tensor, energy: float) -> Tensor:
    """U (d_in, r): the fewest leading right singular vectors of the row-normalised weight
    (d_out, d_in) whose squared singular values hold the share `energy`."""
    rows = weight.to(torch.float64)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # The d_out x d_out Gram matrix is the smaller one: V = W^T U / s.
    values, left = torch.linalg.eigh(rows @ rows.mT)
    values, left = values.flip(0).clamp(min=0), left.flip(1)
    count = leading_count(values, energy)
    return rows.mT @ left[:, :count] / values[:count].sqrt()


class SphereEditor(DeferredWrapper):
    """Projects a batch's change: at each layer for AlphaEdit, after all layers for other bases."""

    def __init__(self, base: AdditiveEditor, options: SphereOptions) -> None:
        super().__init__(base)
        self._options = options
        self._at_once = options.base.method in PROJECTED_AT_ONCE

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        super().update(keys, residuals, prompt_keys)
        if self._at_once:
            self.finish()

    def reshape(self, change: Tensor, before: Tensor) -> Tensor:
        main = main_directions(before, self._options.energy)
        return change - self._options.strength * (change @ main) @ main.mT
