"""Least squares on edited keys, regularised by the second moment of all keys."""

from functools import cached_property

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment


class RegularisedLeastSquares:
    """min over Delta of  lambda tr(Delta C Delta^T) + ||Delta K - T||_F^2, and its metric.

    Up to a constant the objective is tr((Delta - Delta*) H (Delta - Delta*)^T) with

        H = lambda C + K K^T,    Delta* = T (lambda I + K^T C^-1 K)^-1 K^T C^-1 = T K^T H^-1.

    For n <= d_in, H^-1 follows from C^-1 by Woodbury's identity, and nothing of C's size is formed.
    For more keys than they have entries, H itself is smaller than what that would take.
    """

    def __init__(self, moment: SecondMoment, retention_weight: float, keys: Tensor) -> None:
        """moment: C (d_in, d_in). retention_weight: lambda > 0. keys: K (d_in, n) float64."""
        self._moment, self._weight, self._keys = moment, retention_weight, keys
        self._wide = keys.shape[1] > keys.shape[0]

    @cached_property
    def _whitened(self) -> Tensor:
        """C^-1 K (d_in, n)."""
        return self._moment.solve(self._keys)

    @cached_property
    def _factor(self) -> Tensor:
        """Cholesky factor of lambda I + K^T C^-1 K (n, n)."""
        gram = self._keys.mT @ self._whitened
        gram = (gram + gram.mT) / 2
        gram.diagonal().add_(self._weight)
        return torch.linalg.cholesky(gram)

    @cached_property
    def _metric(self) -> Tensor:
        """H (d_in, d_in)."""
        return torch.addmm(self._moment.matrix, self._keys, self._keys.mT, beta=self._weight)

    @cached_property
    def _inverse(self) -> SecondMoment:
        """Solves with H."""
        return SecondMoment(self._metric, self._moment.where)

    @cached_property
    def gain(self) -> Tensor:
        """G (n, d_in) with Delta* = T G."""
        if self._wide:
            return self._inverse.solve(self._keys).mT
        return torch.cholesky_solve(self._whitened.mT, self._factor)

    def least(self, wanted: Tensor) -> float:
        """The objective at Delta*, lambda tr(T (lambda I + K^T C^-1 K)^-1 T^T).

        wanted: T (d, n).
        """
        if self._wide:
            # The inverse times lambda is I - G K.
            written = (wanted @ self.gain) @ self._keys
            return float(((wanted - written) * wanted).sum())
        solved = torch.cholesky_solve(wanted.mT, self._factor)
        return self._weight * float((solved * wanted.mT).sum())

    def times(self, rows: Tensor) -> Tensor:
        """Y H (m, d_in) for Y (m, d_in)."""
        if self._wide:
            return rows @ self._metric
        retained = self._weight * (rows @ self._moment.matrix)
        return retained.addmm_(rows @ self._keys, self._keys.mT)

    def solve(self, columns: Tensor) -> Tensor:
        """H^-1 Z (d_in, m) for Z (d_in, m)."""
        if self._wide:
            return self._inverse.solve(columns)
        correction = torch.cholesky_solve(self._whitened.mT @ columns, self._factor)
        return (self._moment.solve(columns) - self._whitened @ correction) / self._weight
