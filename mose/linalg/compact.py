"""The exact change of a matrix in few bytes: a product that predicts it, and what it misses.

The edited matrix is predicted from the base W, of (m, n) with m <= n, by the smallest of

    W                    nothing is predicted
    W + A B              low rank: additive methods write one per edit
    W + A W              a rotation of the output

The differences of the edited matrix's bit patterns from the prediction, mostly zero, are stored
compressed, so that the result is exact whatever the change is. Ours.
"""

from __future__ import annotations

import bz2
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mose.linalg.exact import Fixed, exact_product, fixed

# Number formats: integers of the same width for torch and for numpy, and bits of the fraction.
FORMATS = {
    torch.float32: (torch.int32, np.uint32, 23),
    torch.bfloat16: (torch.int16, np.uint16, 7),
    torch.float16: (torch.int16, np.uint16, 10),
}
# Rounding moves an entry by this much of its last digit, root mean square.
ROUNDING = 12**-0.5
FACTOR_BITS = 32
# Entries whose last digit is smaller know the factors better, up to this weight: beyond, few
# entries would decide.
MOST_WEIGHT = 1e4
# Weighted least squares for larger ranks take longer than they save.
WEIGHTED_RANK = 64
ROUNDS = 6
# What `factors_of_change` leaves out of a change: twice the energy of one rounding, or this share
# of its norm, which is more than the roundings of hundreds of batches in float32.
ROUNDINGS, LEFT_OUT = 2.0, 1e-4


@dataclass(frozen=True)
class Change:
    """left: A, or None for no prediction. right: B, or None for the base itself.
    differences: compressed."""

    left: Fixed | None
    right: Fixed | None
    differences: bytes

    @property
    def form(self) -> str:
        """The prediction in words."""
        if self.left is None:
            return "differences"
        return "rotation" if self.right is None else "low rank"

    @property
    def rank(self) -> int | None:
        """Rank of the product that is added; None for a rotation or no prediction."""
        return None if self.left is None or self.right is None else self.left.numbers.shape[1]

    def apply(self, base: Tensor) -> Tensor:
        """The edited matrix, of the base's number format."""
        wide = base.shape[0] <= base.shape[1]
        start = base if wide else base.mT
        edited = _corrected(_predicted(start, self.left, self.right), self.differences)
        return edited if wide else edited.mT.contiguous()


def change_of(base: Tensor, edited: Tensor) -> Change:
    """The smallest form of the change from `base` to `edited`, matrices of one number format.

    The others are not tried where a low rank takes less than a quarter of the matrix.
    """
    if base.shape[0] > base.shape[1]:
        base, edited = base.mT, edited.mT
    before = base.to(torch.float64).numpy()
    change = edited.to(torch.float64).numpy() - before
    changes = [_change(base, edited, *factors) for factors in _low_rank(change, edited)]
    if not changes or 4 * size_of(changes[0]) > before.size * edited.itemsize:
        changes.append(_change(base, edited, None, None))
        changes += [_change(base, edited, left, None) for left in _rotation(change, before)]
    return min(changes, key=size_of)


def factors_of_change(base: Tensor, edited: Tensor) -> tuple[Tensor, Tensor]:
    """Factors A (m, r) and B (r, n) float32 of the change A B from `base` to `edited`, of (m, n).

    Of the lowest rank at which what is left out is no more than rounding: in norm, that of the
    matrices' number format, or LEFT_OUT of the change. r is 0 without a change, and m or n for a
    change of full rank.
    """
    if base.shape[0] > base.shape[1]:
        right, left = factors_of_change(base.mT, edited.mT)
        return left.mT, right.mT
    change = edited.to(torch.float64).numpy() - base.to(torch.float64).numpy()
    directions = np.linalg.eigh(change @ change.T)[1][:, ::-1]
    along = directions.T @ change
    energies = np.square(along).sum(1)
    total = energies.sum()
    left_over = total - np.cumsum([0.0, *energies])
    rounding = np.square(ROUNDING * _last_digits(edited)[change != 0]).sum()
    rank = int((left_over > max(ROUNDINGS * rounding, LEFT_OUT**2 * total)).sum())
    # Each factor has the root of the singular values, so that both are of one size.
    roots = np.sqrt(np.sqrt(energies[:rank]))
    sides = directions[:, :rank] * roots, along[:rank] / roots[:, None]
    left, right = (torch.from_numpy(side).float() for side in sides)
    return left, right


def _change(base: Tensor, edited: Tensor, left: Fixed | None, right: Fixed | None) -> Change:
    return Change(left, right, _differences(_predicted(base, left, right), edited))


def size_of(change: Change) -> int:
    """Bytes of a change."""
    factors = (change.left, change.right)
    return len(change.differences) + sum(f.size for f in factors if f is not None)


def _low_rank(change: NDArray, edited: Tensor) -> list[tuple[Fixed, Fixed]]:
    """A and B of the rank that takes the fewest bits; nothing if that is 0."""
    # Left singular vectors (m, m), of the largest singular value first.
    directions = np.linalg.eigh(change @ change.T)[1][:, ::-1]
    rank = _rank(np.square(directions.T @ change).sum(1), change, edited)
    if rank == 0:
        return []
    digits = _last_digits(edited)
    weights = np.minimum(np.square(np.median(digits) / digits), MOST_WEIGHT)
    left = directions[:, :rank]
    if rank <= WEIGHTED_RANK:
        try:
            for _ in range(ROUNDS):
                right = _weighted(left, change, weights)
                left = _weighted(right.T, change.T, weights.T).T
            rounded = fixed(left, "left")
            return [(rounded, fixed(_weighted(rounded.values, change, weights), "right"))]
        except (np.linalg.LinAlgError, ValueError):  # of a smaller rank than it seemed
            left = directions[:, :rank]
    rounded = fixed(left, "left")
    right = np.linalg.lstsq(rounded.values, change, rcond=None)[0]
    return [(rounded, fixed(right, "right"))]


def _rotation(change: NDArray, base: NDArray) -> list[Fixed]:
    """A with A W = change in least squares; nothing for a singular base."""
    try:
        return [fixed(np.linalg.solve(base @ base.T, base @ change.T).T, "left")]
    except (np.linalg.LinAlgError, ValueError):
        return []


def _rank(energies: NDArray, change: NDArray, edited: Tensor) -> int:
    """The rank at which factors of `change` (m, n) and differences take the fewest bits.

    energies: squared singular values, descending. An estimate: a residual of x last digits (root
    mean square, beside the rounding that no rank removes) costs about log2(1 + 5 x) bits per entry.
    """
    left_over = np.maximum(energies.sum() - np.cumsum([0.0, *energies]), 0.0) / change.size
    digits = _last_digits(edited).reshape(-1)
    sample = digits[:: max(1, digits.size // 4096)]
    beside = np.maximum(left_over[:, None] / np.square(sample) - ROUNDING**2, 0.0)
    bits = np.log2(1 + 5 * np.sqrt(beside)).mean(1) * change.size
    factors = FACTOR_BITS * sum(change.shape) * np.arange(len(bits))
    return int((bits + factors).argmin())


def _weighted(left: NDArray, change: NDArray, weights: NDArray) -> NDArray:
    """B (r, n) of the least sum of weights * (change - left B)^2; weights: (m, n)."""
    rank = left.shape[1]
    pairs = (left[:, :, None] * left[:, None, :]).reshape(len(left), -1)
    normal = (weights.T @ pairs).reshape(-1, rank, rank)
    wanted = (weights * change).T @ left
    return np.linalg.solve(normal, wanted[:, :, None])[:, :, 0].T


def _last_digits(matrix: Tensor) -> NDArray:
    """The distance from each entry to the next larger number of its format, float64."""
    fraction = FORMATS[matrix.dtype][2]
    sizes = np.maximum(np.abs(matrix.to(torch.float64).numpy()), 1e-30)
    return np.ldexp(1.0, np.frexp(sizes)[1] - 1 - fraction)


def _predicted(base: Tensor, left: Fixed | None, right: Fixed | None) -> Tensor:
    if left is None:
        return base
    start = base.to(torch.float64).numpy()
    product = exact_product(left, right or fixed(start, "right"))
    return torch.from_numpy(start + product).to(base.dtype)


def _bits(matrix: Tensor) -> NDArray:
    signed, unsigned, _ = FORMATS[matrix.dtype]
    return matrix.contiguous().view(signed).numpy().view(unsigned)


def _differences(predicted: Tensor, edited: Tensor) -> bytes:
    """Bit patterns of `edited` minus those predicted, byte place by byte place, compressed."""
    unsigned = FORMATS[edited.dtype][1]
    # Unsigned numbers wrap around, and so does the sum that takes the difference back.
    apart = _bits(edited) - _bits(predicted)
    negative = apart >> unsigned(8 * apart.itemsize - 1)
    folded = (apart << unsigned(1)) ^ (unsigned(0) - negative)  # -1 becomes 1, and 1 becomes 2
    places = folded.reshape(-1).view(np.uint8).reshape(-1, apart.itemsize).T
    return bz2.compress(places.tobytes())


def _corrected(predicted: Tensor, differences: bytes) -> Tensor:
    unsigned = FORMATS[predicted.dtype][1]
    start = _bits(predicted)
    places = np.frombuffer(bz2.decompress(differences), np.uint8).reshape(start.itemsize, -1)
    folded = np.ascontiguousarray(places.T).view(unsigned).reshape(start.shape)
    apart = (folded >> unsigned(1)) ^ (unsigned(0) - (folded & unsigned(1)))
    signed_bits = (start + apart).view(np.int32 if start.itemsize == 4 else np.int16)
    return torch.from_numpy(signed_bits).view(predicted.dtype)
