"""MEMIT (Meng et al., ICLR 2023, arXiv 2210.07229), with and without memory.

    Delta = argmin lambda tr(Delta C Delta^T) + ||Delta Z - T||_F^2
          = T (lambda I + Z^T C^-1 Z)^-1 Z^T C^-1

The usual form, T Z^T (lambda C + Z Z^T)^-1, solves a d_in x d_in system per batch; this one is
the same matrix by the push-through identity and solves n x n once C is factored.
Without memory Z = K and T = residuals (equation 14). With memory Z = [K_p, K] and T = [0,
residuals]: earlier keys K_p keep their present outputs, which is the sequential form with the
term K_p K_p^T. Options: MemitOptions.
"""

from torch import Tensor

from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import AdditiveEditor
from mose.methods.options import MemitOptions


def memit_delta(
    keys: Tensor, residuals: Tensor, moment: SecondMoment, retention_weight: float
) -> Tensor:
    """Delta (d_out, d_in) float64 for keys Z (d_in, n) and wanted changes T (d_out, n)."""
    return residuals @ RegularisedLeastSquares(moment, retention_weight, keys).gain


class MemitEditor(AdditiveEditor):
    """Least squares on the batch, regularised by the second moment."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MemitOptions) -> None:
        super().__init__(weight)
        self._moment = moment
        self._retention_weight = options.retention_weight
        self.remembers = options.memory == "keys"

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        keys, residuals = self.with_earlier(keys, residuals)
        return memit_delta(keys, residuals, self._moment, self._retention_weight)
