"""Matrices with given singular values: the nearest one, and the best one in a metric.

The set of all R W_0 Q with orthogonal R and Q is the set of matrices with W_0's singular values s.
Its points are kept as thin factors, X = U diag(s) V^T, so that the spectrum is exact by
construction.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.orthogonal import polar, reorthonormalise

# Least step of the line search, and its most steps.
SHORTEST, MOST_STEPS = 1 / 64, 40
# Difference of two singular values, relative to the largest, below which they count as equal.
EQUAL = 1e-12


class Metric(Protocol):
    """A symmetric positive definite H (p, p), as products."""

    def times(self, rows: Tensor) -> Tensor:
        """Y H (m, p) for Y (m, p)."""

    def solve(self, columns: Tensor) -> Tensor:
        """H^-1 Z (p, m) for Z (p, m)."""


@dataclass(frozen=True)
class Factors:
    """X = U diag(s) V^T.

    left: U (d, r) with orthonormal columns; values: s (r,), descending; right: V (p, r) with
    orthonormal columns. r = min(d, p). All float64.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def matrix(self) -> Tensor:
        """X (d, p)."""
        return (self.left * self.values) @ self.right.mT

    def polished(self) -> "Factors":
        """The same, with the orthogonality error of both factors squared."""
        return Factors(reorthonormalise(self.left), self.values, reorthonormalise(self.right))


def nearest(matrix: Tensor, values: Tensor) -> Factors:
    """The matrix with singular values `values` that is nearest to `matrix` in Frobenius norm.

    matrix: M = U S V^T (d, p); values: s (r,), r = min(d, p), descending. The result is
    U diag(s) V^T, at distance ||S - s|| (Mirsky 1960); unique if M's singular values are distinct.
    The singular vectors come from the eigenvectors of the smaller Gram matrix, in O(r^2 max(d, p)),
    and are orthonormal up to rounding times the squared condition number of M (`polished`).
    Raises NumericalError if M is not finite, or of lower rank than r to working precision
    (`check_rank`).
    """
    return _nearest(matrix, values)[0]


def check_rank(values: Tensor) -> None:
    """Raise NumericalError if an unedited matrix has no unique nearest points of its spectrum.

    values: its singular values (r,), descending, r = min(d, p): the last one is zero, or so small
    that its square is lost beside that of the first.
    """
    squares = values.square()
    if _deficient(squares):
        rank = int((squares > _floor(squares)).sum())
        raise NumericalError(
            f"the unedited matrix has rank {rank} of {len(values)} to working precision (singular "
            f"values from {float(values[0]):.3g} to {float(values[-1]):.3g}), and points of a "
            "spectrum are unique at full rank only; edit other layers (layers), or take a method "
            "that does not keep the spectrum"
        )


def _floor(squares: Tensor) -> Tensor:
    """The squared singular value at which rank is lost, of those of a matrix, descending."""
    return squares[0] * len(squares) * torch.finfo(squares.dtype).eps


def _deficient(squares: Tensor) -> bool:
    return bool(squares[-1] <= _floor(squares))


def _root(square: Tensor) -> float:
    return float(square.clamp(min=0).sqrt())


def _nearest(matrix: Tensor, values: Tensor) -> tuple[Factors, Tensor]:
    """`nearest`, and the singular values of `matrix` (r,), descending."""
    if len(matrix) > matrix.shape[1]:
        turned, own = _nearest(matrix.mT, values)
        return Factors(turned.right, values, turned.left), own
    if not torch.isfinite(matrix).all():
        raise NumericalError(
            "the matrix to project onto a spectrum is not finite: a key or a target of this batch "
            "is NaN or infinite; run the model in float32 (dtype), or lower learning_rate"
        )
    squares, left = torch.linalg.eigh(matrix @ matrix.mT)
    squares, left = squares.flip(0), left.flip(1)
    if _deficient(squares):
        check_rank(values)
        raise NumericalError(
            f"the edited matrix has singular values from {_root(squares[0]):.3g} to "
            f"{_root(squares[-1]):.3g} (unedited: {float(values[0]):.3g} to "
            f"{float(values[-1]):.3g}), too far apart for a unique nearest matrix of the unedited "
            "spectrum: the edits are too large; write fewer or smaller edits at once (batch, "
            "clamp), or raise lambda"
        )
    own = squares.sqrt()
    return Factors(left, values, (matrix.mT @ left) / own), own


@dataclass(frozen=True)
class Place:
    """A point and what `Objective` knows of it: X (d, p), its image X H (d, p), and f(X)."""

    point: Factors
    matrix: Tensor
    image: Tensor
    value: float


class Objective:
    """f(X) = c + tr((X - A) H (X - A)^T), for X (d, p) with given singular values."""

    def __init__(self, wanted: Tensor, metric: Metric, least: float = 0.0) -> None:
        """wanted: A (d, p). metric: H. least: c, the objective at A."""
        self.wanted, self.metric, self.least = wanted, metric, least
        self.image = metric.times(wanted)

    def at(self, point: Factors) -> Place:
        """A point with its image, by one product with H."""
        matrix = point.matrix
        return self._place(point, matrix, self.metric.times(matrix))

    def nearest(self, matrix: Tensor, image: Tensor, values: Tensor) -> Place:
        """The nearest point (`nearest`) to a matrix M (d, p) whose image M H is known.

        The point is X = S M with S = U diag(s / S_M) U^T, so X H = S (M H): for d <= p, products of
        d x d with d x p in place of one with H.
        """
        point, own = _nearest(matrix, values)
        if len(matrix) > matrix.shape[1]:
            return self.at(point)
        scaling = (point.left * (values / own)) @ point.left.mT
        return self._place(point, point.matrix, scaling @ image)

    def _place(self, point: Factors, matrix: Tensor, image: Tensor) -> Place:
        excess = ((image - self.image) * (matrix - self.wanted)).sum()
        return Place(point, matrix, image, self.least + float(excess))


@dataclass(frozen=True)
class Fit:
    """A result of `best`: the point, its objective, and the number of steps taken."""

    point: Factors
    objective: float
    steps: int


def best(objective: Objective, start: Place, tolerance: float, most_steps: int = MOST_STEPS) -> Fit:
    """A local minimum of the objective over the X with the spectrum of `start`.

    tolerance: stop once a step lowers f by less than this share of it.

    Newton steps in the tangent space, without the curvature of the set. At X = U diag(s) V^T with
    distinct s, the tangent space is { T : u_i^T T v_i = 0 for all i }, which is min(d, p) linear
    conditions. Under these f(X + T) is least for

        T = (A - X) - U diag(m) V^T H^-1,    m_i = u_i^T (A - X) v_i / (v_i^T H^-1 v_i),

    and the next point is the nearest one to X + t T, t the first of 1, 1/2, 1/4, .. that lowers f.
    T is a descent direction unless X is stationary: there (X - A) H = -U diag(m) V^T, which is
    normal to the set. The derivation is ours (docs/methods.md). f never rises above its value at
    `start`.
    """
    place, steps = start, 0
    while steps < most_steps and (lower := _lower(objective, place)) is not None:
        gain, place, steps = place.value - lower.value, lower, steps + 1
        if gain < tolerance * place.value:
            break
    return Fit(place.point, place.value, steps)


def _lower(objective: Objective, place: Place) -> Place | None:
    """The next point of `best`; None if no step lowers f."""
    step, image = _tangent_step(objective, place)
    share = 1.0
    while share >= SHORTEST:
        candidate = objective.nearest(
            place.matrix + share * step, place.image + share * image, place.point.values
        )
        if candidate.value < place.value:
            return candidate
        share /= 2
    return None


def _tangent_step(objective: Objective, place: Place) -> tuple[Tensor, Tensor]:
    """T (d, p) of `best` and its image T H = (A - X) H - U diag(m) V^T."""
    point, missing = place.point, objective.wanted - place.matrix
    whitened = objective.metric.solve(point.right)
    along = ((missing.mT @ point.left) * point.right).sum(0)
    normal = point.left * (along / (point.right * whitened).sum(0))
    return missing - normal @ whitened.mT, objective.image - place.image - normal @ point.right.mT


def decomposed(matrix: Tensor) -> Factors:
    """The singular value decomposition of a matrix (d, p) in float64."""
    left, values, right = torch.linalg.svd(matrix.to(torch.float64), full_matrices=False)
    return Factors(left, values, right.mT)


def aligned(before: Factors, after: Factors) -> Factors:
    """`after`, its factors chosen so that R and Q in  after = R before Q  are nearest to I.

    R = U U_0^T and Q^T = V V_0^T, on the complements of U_0 and V_0 any isometry. Singular vectors
    are given up to a common sign of u_i and v_i, and up to a common rotation D within a group of
    equal singular values; tr(R) + tr(Q) is largest for D = polar(U^T U_0 + V^T V_0) of the group.
    """
    overlap = after.left.mT @ before.left + after.right.mT @ before.right
    mixed = torch.zeros_like(overlap)
    for group in _groups(after.values):
        block = overlap[group, group]
        # polar() of one number is its sign; a zero may have either.
        mixed[group, group] = polar(block) if len(block) > 1 else torch.where(block < 0, -1.0, 1.0)
    return Factors(after.left @ mixed, after.values, after.right @ mixed)


def _groups(values: Tensor) -> list[slice]:
    """Ranges of singular values (r,), descending, that are equal to working precision."""
    gaps = values[:-1] - values[1:] > EQUAL * values[0]
    ends = [*(torch.nonzero(gaps).flatten() + 1).tolist(), len(values)]
    return [slice(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
