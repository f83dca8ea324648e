"""Symmetric matrices packed as their upper triangle, row by row: half the bytes.

Matrix and triangle are never both in memory as a whole: for 18,944 columns, the triangle takes
1.4 GB.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mose.errors import StoreError

PIECE_BYTES = 16 << 20


class PackedSymmetric:
    """A symmetric matrix (d, d) to be stored as its upper triangle, row by row.

    shape: of the triangle, (d (d + 1) / 2,).
    """

    def __init__(self, matrix: NDArray) -> None:
        self.matrix = matrix
        self.dtype = matrix.dtype
        self.shape = (packed_size(len(matrix), 0, len(matrix)),)

    def pieces(self) -> Iterator[NDArray]:
        """The triangle (d (d + 1) / 2,), a few rows at a time."""
        for begin, end in row_spans(len(self.matrix), self.dtype):
            yield np.concatenate([self.matrix[row, row:] for row in range(begin, end)])


def side_of(size: int) -> int:
    """Side d of the matrix whose packed triangle has `size` = d (d + 1) / 2 entries.

    Raises StoreError if there is no such d.
    """
    d = (math.isqrt(8 * size + 1) - 1) // 2
    if d * (d + 1) // 2 != size:
        raise StoreError(f"{size} numbers are not a packed triangle of a square matrix")
    return d


def row_spans(d: int, dtype: np.dtype) -> Iterator[tuple[int, int]]:
    """Ranges (begin, end) of rows of a (d, d) matrix, about PIECE_BYTES each."""
    rows = max(1, PIECE_BYTES // (d * dtype.itemsize))
    for begin in range(0, d, rows):
        yield begin, min(begin + rows, d)


def packed_size(d: int, begin: int, end: int) -> int:
    """Number of entries in rows begin to end of the upper triangle of a (d, d) matrix."""
    return (end - begin) * (2 * d - begin - end + 1) // 2


def unpack_rows(matrix: NDArray, begin: int, end: int, packed: NDArray) -> None:
    """Copy packed rows begin to end of the upper triangle into both triangles of `matrix`."""
    d, start = len(matrix), 0
    for row in range(begin, end):
        matrix[row, row:] = packed[start : start + d - row]
        start += d - row
    corner = matrix[begin:end, begin:end]
    corner[:] = np.triu(corner) + np.triu(corner, 1).T
    matrix[end:, begin:end] = matrix[begin:end, end:].T
