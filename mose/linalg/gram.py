"""Symmetric products X^T X: only the upper blocks are summed, then copied to the lower ones."""

from collections.abc import Iterator

from torch import Tensor

# Least number of blocks per side, and most columns per block. Diagonal blocks are computed in full,
# so small blocks waste less.
GRAM_BLOCKS, GRAM_WIDTH = 8, 512


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    """Ranges (begin, end) of the blocks of a matrix (size, size)."""
    width = min(-(-size // GRAM_BLOCKS), GRAM_WIDTH)
    for begin in range(0, size, width):
        yield begin, min(begin + width, size)


def add_gram(total: Tensor, rows: Tensor) -> None:
    """total += rows^T rows on and above the diagonal, in about half the time of the full product.

    total: (d, d), changed in place; blocks below the diagonal stay as they are. rows: (n, d), of
    total's dtype or a narrower one; products are computed in the dtype of `rows`.
    """
    for begin, end in _blocks(rows.shape[1]):
        block = slice(begin, end)
        total[block, begin:].add_(rows[:, block].mT @ rows[:, begin:])


def mirror(total: Tensor) -> Tensor:
    """Copy the upper triangle of `total` (d, d) to the lower one, in place; returns `total`."""
    for begin, end in _blocks(len(total)):
        corner = total[begin:end, begin:end]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        total[end:, begin:end] = total[begin:end, end:].mT
    return total
