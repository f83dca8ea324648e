"""EMMET (Gupta et al. 2024, arXiv 2403.14236): MEMIT's objective under an equality constraint.

    Delta = argmin w tr(Delta C Delta^T)  subject to  Delta K = R
          = R (K^T C_w^-1 K)^-1 K^T C_w^-1,  C_w = w C

The authors add e I to the n x n matrix for stability, which loosens the constraint:

    Delta = R (K^T C_w^-1 K + e I)^-1 K^T C_w^-1

is MEMIT with lambda = e w, and equality holds for e = 0 only, where w cancels. One request alone
(n = 1) is written exactly, e or not, as in the authors' code (unified-model-editing).
Options: EmmetOptions (`lambda` is w, `relaxation` is e).
"""

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import AdditiveEditor
from mose.methods.options import EmmetOptions

EPS = torch.finfo(torch.float64).eps


def emmet_delta(
    keys: Tensor, residuals: Tensor, moment: SecondMoment, weight: float, relaxation: float
) -> Tensor:
    """Delta (d_out, d_in) float64 for keys K (d_in, n) and residuals R (d_out, n).

    weight: w. relaxation: e, ignored for n = 1, which is written exactly.
    Raises NumericalError when the constraints are linearly dependent.
    """
    whitened = moment.solve(keys) / weight
    gram = keys.mT @ whitened
    gram = (gram + gram.mT) / 2
    if keys.shape[1] > 1:
        gram.diagonal().add_(relaxation)
    factor, info = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal() ** 2
    if int(info) != 0 or pivots.min() <= EPS * len(gram) * gram.diagonal().max():
        raise NumericalError(
            "EMMET's constraints depend on each other (two requests of a batch have the same "
            "key); set relaxation above 0"
        )
    return residuals @ torch.cholesky_solve(whitened.mT, factor)


class EmmetEditor(AdditiveEditor):
    """The smallest change, weighted by the second moment, that writes the batch exactly."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: EmmetOptions) -> None:
        super().__init__(weight)
        self._moment = moment
        self._options = options

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        options = self._options
        return emmet_delta(
            keys, residuals, self._moment, options.retention_weight, options.relaxation
        )
