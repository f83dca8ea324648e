"""BetaEdit (IJCAI 2026, arXiv 2605.09285): AlphaEdit that weighs old keys and moves its null space.

    Delta = argmin lambda tr(Delta C Delta^T) + ||Delta K_p||_F^2 + ||Delta K - R||_F^2
            + rho ||Delta||_F^2    over Delta = Delta P

The authors solve (P (K K^T + K_p K_p^T + lambda C) + rho I) Delta^T = P K R^T, of size d_in. With
P = U_0 U_0^T, M = lambda U_0^T C U_0 + rho I and Z = U_0^T [K_p, K] it is

    Delta = [0, R] (I + Z^T M^-1 Z)^-1 Z^T M^-1 U_0^T

a system of the size of all edits so far; M is factored once for each P. U_0 are eigenvectors with
small eigenvalues of C and, once `refresh` edits were written since P was determined, of

    (K_p K_p^T / t + lambda C) / (lambda + 1)

with the keys K_p of all t edits so far. Options: BetaEditOptions (`lambda` is the authors' lambda1,
`ridge` their lambda2 = rho).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.second_moment import SecondMoment
from mose.methods.alphaedit import split_directions
from mose.methods.base import AdditiveEditor
from mose.methods.sequence_options import BetaEditOptions


class BetaEditEditor(AdditiveEditor):
    """The state has, beside weight and keys, the number of edits that P was determined from."""

    remembers = True

    def __init__(self, weight: Tensor, moment: SecondMoment, options: BetaEditOptions) -> None:
        super().__init__(weight)
        self._moment, self._options = moment, options
        self._refreshed = 0
        self._open: tuple[Tensor, SecondMoment] | None = None

    def _space(self) -> tuple[Tensor, SecondMoment]:
        """U_0 (d_in, rank P) and M (rank P, rank P)."""
        if self._open is None:
            options, matrix = self._options, self._moment.matrix
            held = matrix
            if self._refreshed:
                keys = self._earlier[:, : self._refreshed]
                held = keys @ keys.mT / self._refreshed + options.retention_weight * matrix
                held = held / (options.retention_weight + 1)
            directions, _ = split_directions(held, options)
            metric = options.retention_weight * (directions.mT @ matrix @ directions)
            metric.diagonal().add_(options.ridge)
            self._open = directions, SecondMoment(metric, "BetaEdit's null space")
        return self._open

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        written = self._earlier.shape[1]
        if written - self._refreshed >= self._options.refresh:
            self._refreshed, self._open = written, None
        super().update(keys, residuals, prompt_keys)

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        keys, residuals = self.with_earlier(keys, residuals)
        directions, metric = self._space()
        gain = RegularisedLeastSquares(metric, 1.0, directions.mT @ keys).gain
        return residuals @ gain @ directions.mT

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "refreshed": torch.tensor([self._refreshed])}

    def load(self, state: Mapping[str, Tensor]) -> None:
        super().load(state)
        self._refreshed, self._open = int(state["refreshed"][0]), None
