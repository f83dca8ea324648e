"""EvoEdit (ACL Findings 2026, arXiv 2510.13851): every batch takes its keys out of the null space.

    Delta = R (K^T P K + rho I)^-1 K^T P,    W <- W + Delta
    P <- P - Q Q^T,    Q the left singular vectors of P K with singular values above a bound

P begins as AlphaEdit's. So what earlier keys give does not change at all, and no earlier key is
kept; but P loses up to n directions with every batch of n, and once none is left nothing can be
written. P is not formed: P K = K - B B^T K, B an orthonormal basis of all that it has lost.
Options: EvoEditOptions (`ridge` is rho, 1 in the paper; the bound is `tolerance` times the largest
singular value of K).
"""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.alphaedit import alphaedit_delta, protected_directions
from mose.methods.base import AdditiveEditor
from mose.methods.sequence_options import EvoEditOptions


class EvoEditEditor(AdditiveEditor):
    """The state has, beside the weight, the directions (r, d_in) that edits took out of P."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: EvoEditOptions) -> None:
        super().__init__(weight)
        self._moment, self._options = moment, options
        self._taken = weight.new_empty(weight.shape[1], 0, dtype=torch.float64)

    @cached_property
    def _protected(self) -> Tensor:
        # Slow, and reading a checkpoint does not need it.
        return protected_directions(self._moment.matrix, self._options)

    def project(self, keys: Tensor) -> Tensor:
        """P K (d_in, n)."""
        for basis in (self._protected, self._taken):
            keys = keys - basis @ (basis.mT @ keys)
        return keys

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        return alphaedit_delta(self.project(keys), residuals, self._options.ridge)

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        super().update(keys, residuals, prompt_keys)
        # Twice: what is left of a key may be small beside it, and rounding must not bring back
        # what was taken.
        left, sizes, _ = torch.linalg.svd(self.project(self.project(keys)), full_matrices=False)
        bound = self._options.tolerance * float(torch.linalg.matrix_norm(keys, 2))
        self._taken = torch.cat([self._taken, left[:, sizes > bound]], dim=1)

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "taken": self._taken.mT}

    def load(self, state: Mapping[str, Tensor]) -> None:
        super().load(state)
        self._taken = state["taken"].mT.clone()
