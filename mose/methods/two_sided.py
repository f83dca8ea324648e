"""Two-sided MOSE, `side: both`: W = R W_0 Q with orthogonal R and Q. A proposal of this project.

Every singular value is W_0's, as with one side, but nearly every additive update can be reached:
to first order, all but min(d_out, d_in) of its d_out d_in numbers. W is the point with W_0's
spectrum that minimises

    lambda tr((W - A) C (W - A)^T) + ||W K - V||_F^2

memory accumulate: A = W_0, and K, V are of all edits so far, V the values wanted when each was
written. memory none: A is the present W, and K, V are of the batch.

Without the condition on the spectrum this is least squares, W* = A + (V - A K) G. Solvers:

nearest: the nearest point to W*, in Frobenius norm; then what it misses of W* K is added to W* once
and projected again.
weighted: Newton steps in the metric H = lambda C + K K^T to a local minimum
(`mose.linalg.isospectral.best`), from the nearest point or from the best rotation of the output
alone, polar(W* H A^T) A, whichever has the lower objective. So two sides are never worse than one.

protect > 0: of both sides, the leading singular directions of W_0 that hold this share of its
squared singular values stay fixed, so that dominant subspaces are W_0's as well.

For fixed keys and values, W* does not depend on order or batches, so with memory neither does W.
Options: MoseOptions (`side: both`, `solver`, `protect`). Solvers: `two_sided_solvers`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg.isospectral import Factors, aligned, decomposed
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor, Rotations
from mose.methods.rotation_options import MoseOptions
from mose.methods.two_sided_solvers import TOLERANCE, make_solver


class TwoSidedRotation(ClosedFormEditor):
    """The state is W, and with memory the keys K and wanted values V of all edits (n x d each)."""

    def __init__(
        self,
        weight: Tensor,
        moment: SecondMoment,
        options: MoseOptions,
        tolerance: float = TOLERANCE,
    ) -> None:
        """weight: W_0 (d_out, d_in). tolerance: of `weighted`, as TOLERANCE."""
        self._base = weight.to(torch.float64)
        self._weight = self._base
        self._solver = make_solver(self._base, moment, options, tolerance)
        self._accumulate = options.memory == "accumulate"
        self._keys = self._base.new_empty(self._base.shape[1], 0)
        self._values = self._base.new_empty(self._base.shape[0], 0)

    @property
    def weight(self) -> Tensor:
        return self._weight

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        if not self._accumulate:
            self._weight = self._solver.solve(self._weight, keys, residuals)
            return
        self._values = torch.cat([self._values, self._weight @ keys + residuals], dim=1)
        self._keys = torch.cat([self._keys, keys], dim=1)
        self._weight = self._solver.solve(
            self._base, self._keys, self._values - self._base @ self._keys
        )

    def _frames(self) -> tuple[Factors, Factors]:
        """Singular vectors of W_0 and of W, with those of W aligned to W_0's."""
        unedited = decomposed(self._base)
        return unedited, aligned(unedited, decomposed(self._weight))

    @property
    def rotations(self) -> Rotations:
        before, after = self._frames()
        product = Factors(after.left, before.values, after.right).matrix
        return Rotations(after.left, after.right, product)

    def undo(self) -> Tensor:
        """R^T W Q^T."""
        before, after = self._frames()
        return before.left @ (after.left.mT @ self._weight @ after.right) @ before.right.mT

    def state(self) -> dict[str, Tensor]:
        if not self._accumulate:
            return {"weight": self._weight}
        return {"keys": self._keys.mT, "values": self._values.mT, "weight": self._weight}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._weight = state["weight"].clone()
        if self._accumulate:
            self._keys, self._values = state["keys"].mT.clone(), state["values"].mT.clone()
