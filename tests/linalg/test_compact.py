"""Exact changes of matrices: the same bits back, whatever the change, in few bytes where it is of
low rank or a rotation."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mose.linalg.compact import change_of, factors_of_change, size_of
from mose.linalg.exact import exact_product, fixed

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def generator():
    return np.random.default_rng(3)


def base_of(shape, dtype):
    return torch.from_numpy(generator().normal(size=shape)).to(dtype)


def low_rank(shape, rank, size=0.05):
    draw = np.random.default_rng(4)
    return size * torch.from_numpy(
        draw.normal(size=(shape[0], rank)) @ draw.normal(size=(rank, shape[1]))
    )


def rotation(width, angle=0.3):
    skew = generator().normal(size=(width, width))
    return torch.linalg.matrix_exp(torch.from_numpy(angle * (skew - skew.T) / width**0.5))


CHANGES = {
    "none": lambda w: w,
    "low rank": lambda w: w + low_rank(w.shape, 3),
    "rotation of the shorter side": lambda w: (
        rotation(w.shape[0]) @ w if w.shape[0] <= w.shape[1] else w @ rotation(w.shape[1])
    ),
    "some entries": lambda w: torch.where(low_rank(w.shape, 1) > 0.1, w + 0.01, w),
    "another matrix": lambda w: w.flip(0) * 1e3,
    "signs and zeros": lambda w: torch.where(w > 0, -0.0, -w),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(40, 96), (96, 40), (32, 32)], ids=str)
@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_exact(name, shape, dtype):
    base = base_of(shape, dtype)
    edited = CHANGES[name](base.double()).to(dtype)
    again = change_of(base, edited).apply(base)
    # By their bits: 0.0 and -0.0 are equal otherwise.
    integers = torch.int32 if dtype is torch.float32 else torch.int16
    assert again.dtype == dtype
    assert torch.equal(again.view(integers), edited.contiguous().view(integers))


def test_the_form_is_the_smallest_one():
    base = base_of((200, 500), torch.float32)
    whole = base.numel() * 4
    edited = (base.double() + low_rank(base.shape, 3)).float()
    change = change_of(base, edited)
    assert (change.form, change.rank) == ("low rank", 3)
    assert change.left.numbers.nbytes + change.right.numbers.nbytes == 4 * 3 * 700
    assert size_of(change) < 0.08 * whole
    turned = change_of(base, (rotation(200) @ base.double()).float())
    assert turned.form == "rotation"
    assert turned.left.numbers.shape == (200, 200)
    assert size_of(turned) < 0.6 * whole
    masked = change_of(base, torch.where(base > 2, base * 1.5, base))
    assert masked.form == "differences"
    assert size_of(masked) < 0.15 * whole


def test_a_product_is_that_of_the_rounded_factors_and_its_order_does_not_matter():
    draw = generator()
    left = fixed(draw.normal(size=(3, 50)) * 1e-3, "left")
    right = fixed(draw.normal(size=(50, 4)) * 10.0 ** draw.integers(-9, 9, size=4), "right")
    product = exact_product(left, right)
    for i in range(3):
        for j in range(4):
            exact = sum(
                Fraction(int(left.numbers[i, k])) * int(right.numbers[k, j]) for k in range(50)
            )
            scale = Fraction(2) ** (int(left.exponents[i, 0]) + int(right.exponents[0, j]))
            assert abs(Fraction(product[i, j]) - exact * scale) <= abs(exact * scale) * 2.0**-51
    order = draw.permutation(50)
    again = exact_product(fixed(left.values[:, order], "left"), fixed(right.values[order], "right"))
    assert np.array_equal(product, again)
    # A plain product differs with the order, or this would be for nothing.
    plain = [left.values[:, o] @ right.values[o] for o in (order, np.arange(50))]
    assert not np.array_equal(*plain)
    rounded = np.abs(left.values - draw.__class__(np.random.PCG64(3)).normal(size=(3, 50)) * 1e-3)
    assert rounded.max() < 1e-3 * 4 * 2.0**-30
    with pytest.raises(ValueError, match="not finite"):
        fixed(np.array([[np.inf]]), "left")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
@pytest.mark.parametrize("rank", [0, 1, 7, 20])
def test_the_low_rank_is_that_of_the_change_and_leaves_out_its_rounding(dtype, shape, rank):
    generator = torch.Generator().manual_seed(rank)
    base = torch.randn(shape, generator=generator).to(dtype)
    change = torch.randn(shape[0], rank, generator=generator).double() @ torch.randn(
        rank, shape[1], generator=generator
    ).double()  # fmt: skip
    edited = (base.double() + change).to(dtype)
    left, right = factors_of_change(base, edited)
    assert (left.shape, right.shape) == ((shape[0], rank), (rank, shape[1]))
    missed = base.double() + left.double() @ right.double() - edited.double()
    assert missed.norm() <= 1.5 * (base.double() + change - edited.double()).norm()


def test_the_low_rank_of_many_batches_is_not_that_of_their_roundings():
    generator = torch.Generator().manual_seed(0)
    edited = base = torch.randn(60, 90, generator=generator)
    for batch in range(300):
        column = torch.zeros(60, 1)
        column[batch % 5] = 1e-2
        edited = edited + column @ torch.randn(1, 90, generator=generator)
    left, right = factors_of_change(base, edited)
    assert left.shape[1] == right.shape[0] == 5
    change = edited.double() - base.double()
    assert (left.double() @ right.double() - change).norm() < 1e-4 * change.norm()
