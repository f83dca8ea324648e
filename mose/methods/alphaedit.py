"""AlphaEdit (Fang et al., ICLR 2025, arXiv 2410.02355): updates in the null space of old keys.

    Delta = argmin L2 ||Delta||_F^2 + ||Delta P K - R||_F^2 + ||Delta P K_p||_F^2,  W <- W + Delta P

P = U_0 U_0^T projects on eigenvectors of the second moment C with small eigenvalues. The authors
solve (P (K K^T + K_p K_p^T) + L2 I) Delta^T = P K R^T, of size d_in; with Z = P [K_p, K] it is

    Delta^T = Z (Z^T Z + L2 I)^-1 [0, R]^T

a system of the size of all edits so far. P is not formed: P K = K - U_1 (U_1^T K).
Options: AlphaEditOptions (`ridge` is L2; null_space, null_threshold, null_energy).
"""

from functools import cached_property

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import AdditiveEditor
from mose.methods.options import AlphaEditOptions, NullSpaceOptions


def split_directions(moment: Tensor, options: NullSpaceOptions) -> tuple[Tensor, Tensor]:
    """U_0 (d_in, rank P), U_1 (d_in, d_in - rank P): eigenvectors of the second moment (d_in, d_in)
    that span its null space, and those that updates leave unchanged.

    threshold: U_1 has eigenvalues of at least null_threshold (in units of a squared key entry, so
    its value depends on the model). energy: the fewest leading ones that hold the share null_energy
    of the trace. Raises NumericalError when every eigenvector is among them.
    """
    values, vectors = torch.linalg.eigh(moment)
    if options.null_space == "threshold":
        count = int((values >= options.null_threshold).sum())
    else:
        shares = values.flip(0).clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
        count = min(int((shares < options.null_energy).sum()) + 1, len(values))
    if count == len(values):
        raise NumericalError(
            "the null space is empty: no eigenvalue of the second moment (smallest "
            f"{float(values[0]):.3g}) qualifies; raise null_threshold or lower null_energy"
        )
    return vectors[:, : len(values) - count], vectors[:, len(values) - count :]


def protected_directions(moment: Tensor, options: NullSpaceOptions) -> Tensor:
    """U_1 of `split_directions`."""
    return split_directions(moment, options)[1]


def null_share(moment: Tensor, protected: Tensor) -> float:
    """Share of key energy in the null space, tr(P C) / tr(C), that updates can change.

    moment: C (d_in, d_in), of any set of keys; protected: U_1, as `protected_directions`.
    """
    energy = ((protected.mT @ moment) * protected.mT).sum()
    return float(1 - energy / moment.trace())


def alphaedit_delta(projected: Tensor, residuals: Tensor, ridge: float) -> Tensor:
    """Delta (d_out, d_in) float64 for projected keys Z (d_in, n) and wanted changes (d_out, n)."""
    gram = projected.mT @ projected
    gram.diagonal().add_(ridge)
    return residuals @ torch.cholesky_solve(projected.mT, torch.linalg.cholesky(gram))


class AlphaEditEditor(AdditiveEditor):
    """Ridge regression on projected keys; with memory, earlier keys keep their values."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: AlphaEditOptions) -> None:
        super().__init__(weight)
        self._moment, self._options = moment, options
        self.remembers = options.memory == "keys"

    @cached_property
    def _protected(self) -> Tensor:
        # Slow, and reading a checkpoint does not need it.
        return protected_directions(self._moment.matrix, self._options)

    def project(self, keys: Tensor) -> Tensor:
        """P K (d_in, n)."""
        return keys - self._protected @ (self._protected.mT @ keys)

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        keys, residuals = self.with_earlier(keys, residuals)
        return alphaedit_delta(self.project(keys), residuals, self._options.ridge)
