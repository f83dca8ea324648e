"""Solution of a Procrustes problem with a fixed retention matrix H and few vectors to rotate.

    R = argmin over orthogonal R of  tr((R - I) H (R - I)^T) + ||R S - T||_F^2 = polar(H + T S^T)

H (d, d) is the same for all batches of a run. In its eigenbasis, R is the polar factor of
diag(h) + X Y^T with n columns, which needs no singular value decomposition of size d.
"""

import math
from collections.abc import Iterator
from functools import cache, cached_property

import mpmath
import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.orthogonal import NOT_FINITE, SINGULAR, procrustes, reorthonormalise

# Columns of the low-rank correction per matrix row above which a full SVD is cheaper.
DENSE = 8
# Rows per tile in `entrywise_polar`.
TILE = 128
# Relative distance of two eigenvalues below which dividing by their difference loses digits.
CLOSE = 0.03


class RotationSolver:
    """Solves min over R of tr((R - I) retained (R - I)^T) + ||R source - target||_F^2.

    The eigenbasis of `retained` is computed once, at the first solution that needs it.
    """

    def __init__(self, retained: Tensor) -> None:
        """retained: (d, d), symmetric positive definite, already weighted."""
        self.retained = retained.to(torch.float64)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.retained)
        return values, vectors

    def solve(self, source: Tensor, target: Tensor) -> Tensor:
        """R (d, d) float64 for source, target (d, n).

        Raises NumericalError if the input is not finite or R is not unique to working precision.
        """
        size, count = source.shape
        # Ten nodes suffice for a condition number of 6; real spectra need at least as many.
        if 20 * count > DENSE * size:
            return procrustes(self.retained, source, target)
        values, basis = self._eigen
        left, right = basis.mT @ target.to(values), basis.mT @ source.to(values)
        bounds = singular_bounds(values, left, right)
        nodes, weights = sign_quadrature(*bounds)
        if 2 * count * len(nodes) > DENSE * size:
            return procrustes(self.retained, source, target)
        if 6 * count * len(nodes) < 2 * size:
            terms = polar_correction(values, left, right, nodes, weights)
            a, b = (torch.cat(parts, dim=1) for parts in zip(*terms, strict=True))
            rotation = (basis @ a) @ (basis @ b).mT
            rotation.diagonal().add_(1)
            return rotation
        # An accuracy of 1e-6 is enough: the quadrature's error is one of singular values only, and
        # the final Newton-Schulz step squares it.
        nodes, weights = sign_quadrature(*bounds, 1e-6)
        drift = entrywise_polar(values, left, right, nodes, weights)
        drift.diagonal().sub_(1)
        # The step also squares the orthogonality error of float32. What remains is an error of
        # 1e-7 ||R - I|| tangent to the orthogonal matrices, where the objective is flat
        # (docs/methods.md).
        narrow = basis.float()
        rotation = (narrow @ drift.float() @ narrow.mT).double()
        rotation.diagonal().add_(1)
        return reorthonormalise(rotation)


def singular_bounds(diagonal: Tensor, left: Tensor, right: Tensor) -> tuple[float, float]:
    """A lower and an upper bound of the singular values of M = diag(h) + X Y^T.

    The triangle inequality for the two terms of M, and of M^-1 (Woodbury's identity).
    diagonal: h (d,). left, right: X, Y (d, n).
    Raises NumericalError if an entry is not finite or M is singular.
    """
    size = len(diagonal)
    eps = size * torch.finfo(diagonal.dtype).eps
    if not all(torch.isfinite(part).all() for part in (diagonal, left, right)):
        raise NumericalError(NOT_FINITE)

    def norm(left: Tensor, right: Tensor) -> float:
        """Spectral norm of left right^T."""
        factors = [torch.linalg.qr(part, mode="r").R for part in (left, right)]
        return float(torch.linalg.matrix_norm(factors[0] @ factors[1].mT, 2))

    largest = float(diagonal.max()) + norm(left, right)
    if float(diagonal.min()) <= eps * largest:
        raise NumericalError(SINGULAR)
    inner = right.mT @ (left / diagonal[:, None])
    inner.diagonal().add_(1)
    try:
        solved = torch.linalg.solve(inner.mT, (left / diagonal[:, None]).mT)
    except torch.linalg.LinAlgError:
        raise NumericalError(SINGULAR) from None
    inverse = 1 / float(diagonal.min()) + norm(solved.mT, right / diagonal[:, None])
    if not 1 / inverse > eps * largest:
        raise NumericalError(SINGULAR)
    return 1 / inverse, largest


def sign_quadrature(
    smallest: float, largest: float, accuracy: float = 1e-12
) -> tuple[list[float], list[float]]:
    """Nodes s and weights w with  sum_j w_j x / (x^2 + s_j^2) = 1  within `accuracy` for all x
    between `smallest` and `largest`.

    The trapezoidal rule for (2/pi) int_0^inf x / (x^2 + s^2) ds after an elliptic change of
    variables; the error falls as exp(-pi^2 N / log(largest / smallest)) (Hale, Higham & Trefethen
    2008, SIAM J. Numer. Anal. 46, method 3).
    """
    octaves = max(1, math.ceil(math.log2(largest / smallest)))
    nodes, weights = _quadrature(octaves, accuracy)
    return [smallest * s for s in nodes], [smallest * w for w in weights]


@cache
def _quadrature(octaves: int, accuracy: float) -> tuple[list[float], list[float]]:
    """`sign_quadrature` between 1 and 2^octaves."""
    log_accuracy = math.log(10 / accuracy)
    count = math.ceil((octaves * math.log(2) + 1.5) * log_accuracy / math.pi**2)
    nodes, weights = [], []
    # 1 - parameter can be as small as 1e-26.
    with mpmath.workdps(40):
        parameter = 1 - mpmath.mpf(4) ** -octaves
        quarter = mpmath.ellipk(parameter)
        for j in range(count):
            u = (j + mpmath.mpf(0.5)) * quarter / count
            sn, cn, dn = (mpmath.ellipfun(kind, u, m=parameter) for kind in ("sn", "cn", "dn"))
            nodes.append(float(sn / cn))
            weights.append(float(2 * quarter / (mpmath.pi * count) * dn / cn**2))
    return nodes, weights


def polar_correction(
    diagonal: Tensor, left: Tensor, right: Tensor, nodes: list[float], weights: list[float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield A_j, B_j (d, 2n) with  polar(diag(h) + X Y^T) = I + sum_j A_j B_j^T, a pair per node.

    diagonal: h (d,), positive. left, right: X, Y (d, n). nodes, weights: N each, from
    `sign_quadrature` for bounds of the matrix's singular values.

    polar(M) is a block of sign([[0, M], [M^T, 0]]) = (2/pi) int Re([[0, M], [M^T, 0]] - i s)^-1 ds.
    With a = s / (h^2 + s^2) and b = h / (h^2 + s^2), Woodbury's identity makes that block

        b - [aX, bY] [[X^T aX, I + X^T bY], [-(I + Y^T bX), Y^T aY]]^-1 [bX, aY]^T,

    which is real, of rank 2n, and without squares of M. The weighted sum of b is I. The
    derivation is ours (docs/methods.md).
    """
    count = left.shape[1]
    eye = torch.eye(count, dtype=left.dtype, device=left.device)
    for node, weight in zip(nodes, weights, strict=True):
        shrunk = 1 / (diagonal**2 + node**2)
        a, b = (node * shrunk)[:, None], (diagonal * shrunk)[:, None]
        outer = torch.cat([a * left, b * right], dim=1)
        inner = torch.cat([b * left, a * right], dim=1)
        cross = eye + left.mT @ outer[:, count:]
        top = torch.cat([left.mT @ outer[:, :count], cross], dim=1)
        bottom = torch.cat([-cross.mT, right.mT @ inner[:, count:]], dim=1)
        system = torch.cat([top, bottom])
        yield torch.linalg.solve(system.mT, outer.mT).mul_(-weight).mT, inner


def entrywise_polar(
    diagonal: Tensor, left: Tensor, right: Tensor, nodes: list[float], weights: list[float]
) -> Tensor:
    """Z (d, d), the polar factor of M = diag(h) + X Y^T, in O(d^2 n) for any number of nodes.

    diagonal: h (d,), ascending. left, right: X, Y (d, n). nodes, weights: from `sign_quadrature`.
    The quadrature's error changes the singular values of Z, not its singular vectors.

    Z^T M and M Z^T are symmetric. With F = Z^T X and G = Z Y that is

        Z^T h - h Z = Y F^T - F Y^T    and    h Z^T - Z h = G X^T - X G^T,

    two equations for every pair z_ij, z_ji, so that

        (h_j^2 - h_i^2) z_ij = h_i (Y F^T - F Y^T)_ij - h_j (G X^T - X G^T)_ij.

    Where h_i and h_j are close, this loses digits. Those entries, near the diagonal, are sums of
    the terms of `polar_correction`. The derivation is ours (docs/methods.md).
    """
    tiles = []
    for begin in range(0, len(diagonal), TILE):
        rows = slice(begin, begin + TILE)
        own = diagonal[rows]
        ends = torch.stack([own[0] * (1 - CLOSE), own[-1] * (1 + CLOSE)])
        near = slice(*torch.searchsorted(diagonal, ends).tolist())
        tiles.append((rows, near, left.new_zeros(len(own), len(diagonal[near]))))
    # sum_j w_j b_j: 1 up to the quadrature's error. Used in place of I for consistency.
    ones = torch.zeros_like(diagonal)
    for node, weight in zip(nodes, weights, strict=True):
        ones += weight * diagonal / (diagonal**2 + node**2)
    f, g = ones[:, None] * left, ones[:, None] * right
    for a, b in polar_correction(diagonal, left, right, nodes, weights):
        f.addmm_(b, a.mT @ left)
        g.addmm_(a, b.mT @ right)
        for rows, near, tile in tiles:
            tile.addmm_(a[rows], b[near].mT)
    h, squares = diagonal[:, None], diagonal**2
    rotation = (
        torch.cat([h * right, -h * f, -g, left], dim=1)
        @ torch.cat([f, right, h * left, h * g], dim=1).mT
    )
    for rows, near, tile in tiles:
        rotation[rows] /= squares - squares[rows, None]
        rotation[rows, near] = tile
    rotation.diagonal().add_(ones)
    return rotation
