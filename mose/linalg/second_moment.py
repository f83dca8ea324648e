"""The second moment of keys as a matrix to be read, factored and solved with, each on first use."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from mose.errors import NumericalError


class SecondMoment:
    """C (d_in, d_in) float64 of one layer, and its Cholesky factor: each made once, when asked for.

    Who only reads a checkpoint needs neither, and both are large.
    """

    def __init__(self, matrix: Tensor | Callable[[], Tensor], where: str = "second moment") -> None:
        self._matrix = matrix
        self.where = where

    @cached_property
    def matrix(self) -> Tensor:
        return self._matrix if isinstance(self._matrix, Tensor) else self._matrix()

    @cached_property
    def cholesky(self) -> Tensor:
        factor, info = torch.linalg.cholesky_ex(self.matrix)
        if int(info) != 0:
            raise NumericalError(
                f"{self.where} is singular: too few tokens for its width, or neurons that never "
                "fire; use more tokens (corpus.tokens)"
            )
        return factor

    def solve(self, keys: Tensor) -> Tensor:
        """C^-1 keys, for keys (d_in, n)."""
        # Two triangular solves: for few right-hand sides cholesky_solve takes four times as long.
        factor = self.cholesky
        half = torch.linalg.solve_triangular(factor, keys.to(torch.float64), upper=False)
        return torch.linalg.solve_triangular(factor.mT, half, upper=True)


def identity(width: int) -> SecondMoment:
    """C = I, for those who ask for it by name (ROME without statistics)."""
    return SecondMoment(torch.eye(width, dtype=torch.float64), "identity")
