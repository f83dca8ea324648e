"""How two-sided MOSE finds W, the point of a spectrum that fits edits best (`two_sided`)."""

import logging
from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.isospectral import Factors, Objective, best, decomposed, nearest
from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.orthogonal import polar
from mose.linalg.second_moment import SecondMoment
from mose.linalg.spectrum import leading_count
from mose.methods.rotation_options import MoseOptions

logger = logging.getLogger(__name__)

# `weighted` stops once a step lowers the objective by less than this share of it.
TOLERANCE = 1e-3


class Solver(ABC):
    """Finds W (d_out, d_in) float64 with the spectrum of the unedited weight."""

    def __init__(
        self, base: Tensor, moment: SecondMoment, options: MoseOptions, tolerance: float
    ) -> None:
        """base: W_0 (d_out, d_in) float64. tolerance: of `weighted`, as TOLERANCE."""
        self._base, self._moment = base, moment
        self._options, self._tolerance = options, tolerance

    @abstractmethod
    def solve(self, centre: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
        """W for A = `centre` (d_out, d_in), K = `keys` (d_in, n), V = A K + `wanted` (d_out, n)."""


def make_solver(
    base: Tensor, moment: SecondMoment, options: MoseOptions, tolerance: float = TOLERANCE
) -> Solver:
    """The solver for `options.protect`; base: W_0 (d_out, d_in) float64."""
    kind = MinorDirections if options.protect else AllDirections
    return kind(base, moment, options, tolerance)


class AllDirections(Solver):
    """Any rotation of either side."""

    @cached_property
    def _unedited(self) -> Factors:
        # Reading a checkpoint does not need it.
        return decomposed(self._base)

    def solve(self, centre: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
        fit = RegularisedLeastSquares(self._moment, self._options.retention_weight, keys)
        gain, values = fit.gain, self._unedited.values
        additive = centre + wanted @ gain
        if self._options.solver == "nearest":
            missing = (additive - nearest(additive, values).matrix) @ keys
            return nearest(additive + missing @ gain, values).polished().matrix
        objective = Objective(additive, fit, fit.least(wanted))
        starts = (
            objective.nearest(additive, objective.image, values),
            objective.at(self._output_rotation(centre, objective)),
        )
        start = min(starts, key=lambda place: place.value)
        found = best(objective, start, self._tolerance)
        logger.info(
            "two-sided: %d steps; objective %.4g, of it %.2g for the spectrum",
            found.steps, found.objective, found.objective - objective.least,
        )  # fmt: skip
        return found.point.polished().matrix

    def _output_rotation(self, centre: Tensor, objective: Objective) -> Factors:
        """The R A, A = `centre`, with the least objective."""
        before = self._unedited if centre is self._base else decomposed(centre)
        rotation = polar(objective.image @ centre.mT)
        return Factors(rotation @ before.left, before.values, before.right)


class MinorDirections(Solver):
    """Rotations that leave the leading singular directions of W_0 where they are, on both sides.

    With W_0 = U_k S_k V_k^T + U_r Y_0 V_r^T, where k leading directions hold the share `protect` of
    the squared singular values and U_r, V_r span the rest,

        W = U_k S_k V_k^T + U_r Y V_r^T

    and Y is the same problem with Y_0 for W_0, V_r^T C V_r for C, V_r^T K for K and U_r^T V for V:
    the part U_k of the objective is constant.
    """

    @cached_property
    def _bases(self) -> tuple[Tensor, Tensor]:
        """U_r (d_out, d_out - k) and V_r (d_in, d_in - k)."""
        left, values, right = torch.linalg.svd(self._base)
        count = leading_count(values.square(), self._options.protect)
        if count == len(values):
            raise NumericalError(
                f"protect {self._options.protect}: it takes all {count} singular directions, and "
                "none is left to edit; lower it"
            )
        return left[:, count:], right[count:].mT

    @cached_property
    def _fixed(self) -> Tensor:
        """U_k S_k V_k^T."""
        left, right = self._bases
        return self._base - left @ self._inside(self._base) @ right.mT

    @cached_property
    def _rest(self) -> AllDirections:
        right = self._bases[1]
        inner = right.mT @ self._moment.matrix @ right
        moment = SecondMoment((inner + inner.mT) / 2, self._moment.where)
        return AllDirections(self._inside(self._base), moment, self._options, self._tolerance)

    def _inside(self, weight: Tensor) -> Tensor:
        left, right = self._bases
        return left.mT @ weight @ right

    def solve(self, centre: Tensor, keys: Tensor, wanted: Tensor) -> Tensor:
        left, right = self._bases
        rest = self._rest.solve(self._inside(centre), right.mT @ keys, left.mT @ wanted)
        return self._fixed + left @ rest @ right.mT
