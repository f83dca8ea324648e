"""Matrix products with the same bits on every machine.

Sums in floating point depend on their order, which differs between processors and libraries. A
patch adds a product to a base and must give the same weights everywhere, so its factors are whole
numbers of so few bits that float64 holds every partial sum exactly, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS = 31  # of a whole number, beside its sign
HALF = 16
# 2 HALF + log2(terms) must not exceed the 53 bits of a float64.
MOST_TERMS = 1 << 20


@dataclass(frozen=True)
class Fixed:
    """A matrix of whole numbers (int32) times powers of two, one for each row of a left factor,
    (m, 1), or each column of a right one, (1, n): int8."""

    numbers: NDArray
    exponents: NDArray

    @property
    def values(self) -> NDArray:
        """As float64."""
        return np.ldexp(self.numbers.astype(np.float64), self.exponents.astype(np.int32))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numbers.nbytes + self.exponents.nbytes


def fixed(matrix: NDArray, side: str) -> Fixed:
    """A factor of the `side` "left" or "right", rounded to BITS bits of the largest entry of each
    row or column. Raises ValueError if it is not finite, or has entries of 2^150 and more."""
    largest = np.abs(matrix).max(axis=1 if side == "left" else 0, keepdims=True, initial=0.0)
    # One bit less, so that rounding up stays within an int32.
    exponents = np.maximum(np.frexp(largest)[1] - BITS + 1, -128)
    if not np.isfinite(matrix).all() or exponents.max(initial=0) > 127:
        raise ValueError("a factor is not finite or too large")
    numbers = np.rint(np.ldexp(matrix, -exponents)).astype(np.int32)
    return Fixed(np.ascontiguousarray(numbers), exponents.astype(np.int8))


def exact_product(left: Fixed, right: Fixed) -> NDArray:
    """left @ right (m, n) float64, for (m, k) and (k, n), k at most MOST_TERMS.

    Each product of halves is exact; adding them rounds the same way everywhere.
    """
    if left.numbers.shape[1] > MOST_TERMS:
        raise ValueError(f"{left.numbers.shape[1]} terms, at most {MOST_TERMS} are exact")
    (a_high, a_low), (b_high, b_low) = _halves(left.numbers), _halves(right.numbers)
    unit = float(1 << HALF)
    total = (a_high @ b_high) * unit + (a_high @ b_low + a_low @ b_high)
    exponents = left.exponents.astype(np.int32) + right.exponents
    return np.ldexp(total * unit + a_low @ b_low, exponents)


def _halves(numbers: NDArray) -> tuple[NDArray, NDArray]:
    """Whole numbers as high * 2^HALF + low, both float64."""
    high = numbers >> HALF
    return high.astype(np.float64), (numbers - (high << HALF)).astype(np.float64)
