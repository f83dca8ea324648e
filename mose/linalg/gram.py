"""Symmetric products: only the upper blocks are summed, and mirrored once at the end."""

from collections.abc import Iterator

from torch import Tensor

# Blocks per side of a symmetric product, at least, and columns of one, at most: what is summed of a
# block is there twice.
GRAM_BLOCKS, GRAM_WIDTH = 8, 512


def _blocks(size: int) -> Iterator[tuple[int, int]]:
    """Where the blocks of a symmetric matrix (size, size) begin and end."""
    width = min(-(-size // GRAM_BLOCKS), GRAM_WIDTH)
    for begin in range(0, size, width):
        yield begin, min(begin + width, size)


def add_gram(total: Tensor, rows: Tensor) -> None:
    """total += rows^T rows on and above the diagonal, in about half of the full product's time.

    total: (d, d), of which the blocks below the diagonal are left as they are. rows: (n, d), in
    total's type or a narrower one, which is then the product's.
    """
    for begin, end in _blocks(rows.shape[1]):
        block = slice(begin, end)
        total[block, begin:].add_(rows[:, block].mT @ rows[:, begin:])


def mirror(total: Tensor) -> Tensor:
    """Copy what is above the diagonal of (d, d) below it, in place; returns it."""
    for begin, end in _blocks(len(total)):
        corner = total[begin:end, begin:end]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        total[end:, begin:end] = total[begin:end, end:].mT
    return total
