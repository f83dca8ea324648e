"""The second moment of keys: matrix and Cholesky factor, loaded and computed at first use."""

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor

from mose.errors import NumericalError


class SecondMoment:
    """C (d_in, d_in) float64 of one layer, and its Cholesky factor, each computed at first use.

    Both are large, and reading a checkpoint needs neither.
    """

    def __init__(self, matrix: Tensor | Callable[[], Tensor], where: str = "second moment") -> None:
        """matrix: C, or a function that returns it. where: name in errors."""
        self._matrix = matrix
        self.where = where
        self._elsewhere: dict[torch.device, SecondMoment] = {}

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

    def on(self, device: torch.device) -> "SecondMoment":
        """This second moment with its matrix on a device, and one factor for all who ask."""
        if device not in self._elsewhere:
            self._elsewhere[device] = SecondMoment(partial(self._moved, device), self.where)
        return self._elsewhere[device]

    def _moved(self, device: torch.device) -> Tensor:
        # Not `matrix`, which would stay in the host's memory as well.
        matrix = self._matrix if isinstance(self._matrix, Tensor) else self._matrix()
        return matrix.to(device)

    def solve(self, keys: Tensor) -> Tensor:
        """C^-1 keys (d_in, n) float64, for keys (d_in, n).

        Raises NumericalError if C is singular.
        """
        # Two triangular solves: cholesky_solve takes four times as long for few right-hand sides.
        factor = self.cholesky
        half = torch.linalg.solve_triangular(factor, keys.to(torch.float64), upper=False)
        return torch.linalg.solve_triangular(factor.mT, half, upper=True)


def identity(width: int) -> SecondMoment:
    """C = I (d_in, d_in): `second_moment: identity` of ROME."""
    return SecondMoment(torch.eye(width, dtype=torch.float64), "identity")
