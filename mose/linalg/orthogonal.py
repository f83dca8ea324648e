"""Polar factors, the orthogonal Procrustes problem, and vectors on spheres.

Results are exact up to rounding in the dtype of the arguments.
"""

import torch
from torch import Tensor

from mose.errors import NumericalError
from mose.linalg.gram import add_gram, mirror

NOT_FINITE = (
    "the matrix of the Procrustes problem is not finite: a key or a target of this batch is NaN or "
    "infinite; run the model in float32 (dtype), or lower learning_rate"
)
SINGULAR = (
    "the matrix of the Procrustes problem is singular, so its rotation is not unique: the corpus "
    "has too few tokens for this width, or some neurons never fire; use more tokens"
)


def polar(matrix: Tensor) -> Tensor:
    """The orthogonal polar factor U V^T of a square matrix U S V^T, in float64.

    matrix: (d, d), nonsingular. Returns (d, d), orthogonal up to rounding: a Newton-Schulz step
    removes the orthogonality error of the SVD (about 1e-13).
    Raises NumericalError if the matrix is not finite, or singular to working precision: then the
    factor is not unique, since any rotation of the null space is allowed.
    """
    wide = matrix.to(torch.float64)
    if not torch.isfinite(wide).all():
        raise NumericalError(NOT_FINITE)
    u, s, vh = torch.linalg.svd(wide)
    if s[-1] <= s[0] * len(s) * torch.finfo(torch.float64).eps:
        raise NumericalError(SINGULAR)
    return reorthonormalise(u @ vh)


def procrustes(retained: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The orthogonal R minimising tr((R - I) retained (R - I)^T) + ||R source - target||_F^2.

    retained: (d, d), symmetric positive definite: the retention term, already weighted.
    source, target: (d, n).
    Returns R (d, d) float64. Only -2 tr(R^T M) depends on R, with
    M = retained + target source^T, so R is the polar factor of M.
    Raises NumericalError as `polar` does. Schoenemann 1966; MOSE (arXiv 2601.07873).
    """
    wide = [t.to(torch.float64) for t in (retained, source, target)]
    return polar(wide[0] + wide[2] @ wide[1].mT)


def procrustes_objective(
    rotation: Tensor, retained: Tensor, source: Tensor, target: Tensor
) -> float:
    """The objective of `procrustes`: tr((R - I) retained (R - I)^T) + ||R source - target||_F^2."""
    drift = rotation - torch.eye(rotation.shape[0], dtype=rotation.dtype, device=rotation.device)
    return float(((drift @ retained) * drift).sum() + ((rotation @ source - target) ** 2).sum())


def reorthonormalise(rotation: Tensor) -> Tensor:
    """One Newton-Schulz step, R (3 I - R^T R) / 2: squares a small orthogonality error.

    rotation: (d, n) float64, n <= d. R^T R - I is computed in float64; for the correction, which is
    as small as this error, float32 is enough.
    """
    error = rotation.new_zeros(rotation.shape[1], rotation.shape[1])
    add_gram(error, rotation)
    error.diagonal().sub_(1)
    return rotation - 0.5 * (rotation.float() @ mirror(error.float()))


def orthogonality_error(rotation: Tensor) -> float:
    """||R^T R - I||_F for R (d, n), n <= d."""
    gram = rotation.mT @ rotation
    gram.diagonal().sub_(1)
    return float(torch.linalg.matrix_norm(gram))


def on_sphere(base: Tensor, shift: Tensor) -> Tensor:
    """||b|| (b + s) / ||b + s||: b + s, rescaled to the length of b, so that a rotation reaches it.

    base, shift: b, s (..., d), broadcast; the norm is over the last dimension.
    """
    moved = base + shift
    length = torch.linalg.vector_norm(base, dim=-1, keepdim=True)
    return length * moved / torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
