"""Measures of a matrix: its spectrum, its leading singular subspaces, the spread of its rows."""

import torch
from torch import Tensor


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of the normalised singular values (n,) (Roy & Vetterli 2007)."""
    p = singular_values / singular_values.sum()
    p = p[p > 0]
    return float(torch.exp(-(p * p.log()).sum()))


def leading_count(squares: Tensor, energy: float) -> int:
    """The least number of leading squared singular values that hold the share `energy` of all.

    squares: (n,), descending. energy: above 0, below 1.
    """
    return int((squares.cumsum(0) / squares.sum() < energy).sum()) + 1


def leading_subspaces(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Orthonormal bases (m, count) and (n, count) of the leading left and right singular subspaces.

    matrix: (m, n), of at least rank `count`. One symmetric eigendecomposition of the smaller side.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, left = leading_subspaces(matrix.mT, count)
        return left, right
    left = torch.linalg.eigh(matrix @ matrix.mT)[1][:, -count:]
    # M^T u has the length of u's singular value, which is far from zero here.
    return left, torch.linalg.qr(matrix.mT @ left)[0]


def subspace_similarity(one: Tensor, other: Tensor) -> float:
    """Mean squared cosine of the principal angles of two subspaces: 1 if they are the same.

    Orthonormal bases (n, k); two random ones have k / n.
    """
    return float((one.mT @ other).square().sum() / one.shape[1])


def hyperspherical_energy(matrix: Tensor) -> float:
    """Sum over pairs of rows of 1 / ||a - b||, rows at unit length (SPHERE, arXiv 2510.01172).

    Low energy: rows spread evenly. matrix: (m, n), without zero rows.
    """
    rows = matrix / torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
    return float((1 / torch.nn.functional.pdist(rows)).sum())
