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

For fixed keys and values, W* does not depend on order or batches, so with memory neither does W.
Options: MoseOptions (`side: both`, `solver`).
"""

import logging
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from mose.linalg.isospectral import Factors, aligned, best, decomposed, excess, nearest
from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.orthogonal import polar
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor, Rotations
from mose.methods.options import MoseOptions

logger = logging.getLogger(__name__)

# `weighted` stops once a step lowers the objective by less than this share of it.
TOLERANCE = 1e-3


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
        self._moment, self._options, self._tolerance = moment, options, tolerance
        self._accumulate = options.memory == "accumulate"
        self._keys = self._base.new_empty(self._base.shape[1], 0)
        self._values = self._base.new_empty(self._base.shape[0], 0)

    @cached_property
    def _unedited(self) -> Factors:
        # Reading a checkpoint does not need it.
        return decomposed(self._base)

    @property
    def weight(self) -> Tensor:
        return self._weight

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        if not self._accumulate:
            self._weight = self._solve(self._weight, keys, residuals)
            return
        self._values = torch.cat([self._values, self._weight @ keys + residuals], dim=1)
        self._keys = torch.cat([self._keys, keys], dim=1)
        self._weight = self._solve(self._base, self._keys, self._values - self._base @ self._keys)

    def _solve(self, centre: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
        """W (d_out, d_in) for A = `centre` and V = A K + `wanted`."""
        fit = RegularisedLeastSquares(self._moment, self._options.retention_weight, keys)
        gain, values = fit.gain(), self._unedited.values
        additive = centre + wanted @ gain
        point = nearest(additive, values)
        if self._options.solver == "nearest":
            missing = (additive - point.matrix) @ keys
            return nearest(additive + missing @ gain, values).polished().matrix
        least = fit.least(wanted)
        one_sided = self._output_rotation(centre, additive, fit)
        start = min(point, one_sided, key=lambda p: excess(p.matrix, additive, fit))
        found = best(additive, fit, start, self._tolerance * least)
        logger.info(
            "two-sided: %d steps; objective %.4g, of it %.2g for the spectrum",
            found.steps, least + found.objective, found.objective,
        )  # fmt: skip
        return found.point.polished().matrix

    def _output_rotation(
        self, centre: Tensor, additive: Tensor, fit: RegularisedLeastSquares
    ) -> Factors:
        """The R A, A = `centre`, with the least objective."""
        before = self._unedited if centre is self._base else decomposed(centre)
        rotation = polar(fit.times(additive) @ centre.mT)
        return Factors(rotation @ before.left, before.values, before.right)

    def _frames(self) -> tuple[Factors, Factors]:
        """Singular vectors of W_0 and of W, with those of W aligned to W_0's."""
        return self._unedited, aligned(self._unedited, decomposed(self._weight))

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
