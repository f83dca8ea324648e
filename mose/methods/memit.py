"""MEMIT (Meng et al., ICLR 2023, arXiv 2210.07229), with and without memory.

    Delta = argmin lambda tr(Delta C Delta^T) + ||Delta Z - T||_F^2
          = T (lambda I + Z^T C^-1 Z)^-1 Z^T C^-1

The usual form, T Z^T (lambda C + Z Z^T)^-1, solves a d_in x d_in system per batch; this one is
the same matrix by the push-through identity and solves n x n once C is factored.
Without memory Z = K and T = residuals (equation 14). With memory Z = [K_p, K] and T = [0,
residuals]: earlier keys K_p keep their present outputs, which is the sequential form with the
term K_p K_p^T.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.methods.base import Editor
from mose.moments import SecondMoment
from mose.options import MemitOptions


def memit_delta(
    keys: Tensor, residuals: Tensor, moment: SecondMoment, retention_weight: float
) -> Tensor:
    """Delta (d_out, d_in) float64 for keys Z (d_in, n) and wanted changes T (d_out, n)."""
    whitened = moment.solve(keys)
    gram = keys.mT @ whitened
    gram = (gram + gram.mT) / 2
    gram.diagonal().add_(retention_weight)
    factor = torch.linalg.cholesky(gram)
    return residuals @ torch.cholesky_solve(whitened.mT, factor)


class MemitEditor(Editor):
    """An additive editor; its state is the edited weight as the model runs with it."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MemitOptions) -> None:
        self._weight = weight.to(torch.float32)
        self._moment = moment
        self._options = options
        self._edited = torch.empty(weight.shape[1], 0, dtype=torch.float64)

    @property
    def weight(self) -> Tensor:
        return self._weight

    def update(self, keys: Tensor, residuals: Tensor) -> None:
        known = torch.zeros(residuals.shape[0], self._edited.shape[1], dtype=torch.float64)
        delta = memit_delta(
            torch.cat([self._edited, keys], dim=1),
            torch.cat([known, residuals], dim=1),
            self._moment,
            self._options.retention_weight,
        )
        # Rounded to what is stored after every batch, so that a resumed run is the same run.
        self._weight = (self._weight.to(torch.float64) + delta).to(torch.float32)
        if self._options.memory == "keys":
            self._edited = torch.cat([self._edited, keys], dim=1)

    def state(self) -> dict[str, Tensor]:
        state = {"weight": self._weight}
        if self._options.memory == "keys":
            state["keys"] = self._edited.mT
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._weight = state["weight"]
        if self._options.memory == "keys":
            self._edited = state["keys"].mT
