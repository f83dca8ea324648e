import pytest
import torch

from mose.evaluation.stability import COLUMNS, measure
from mose.linalg.orthogonal import polar
from mose.methods.base import Rotations


def with_spectrum(values, seed=0):
    """A 3 x 5 matrix with known singular values."""
    generator = torch.Generator().manual_seed(seed)
    u = polar(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    v = polar(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    return u @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ v[:3]


def test_the_row_says_what_the_spectrum_says():
    before, after = with_spectrum([4.0, 2.0, 1.0]), with_spectrum([6.0, 2.0, 0.5], seed=1)
    row = measure(7, after, before, None)
    assert tuple(row) == COLUMNS
    assert row["layer"] == 7
    assert row["spectral"] == pytest.approx(6)
    assert row["smallest"] == pytest.approx(0.5)
    assert row["condition"] == pytest.approx(12)
    assert row["condition_ratio"] == pytest.approx(12 / 4)
    assert row["frobenius"] == pytest.approx((36 + 4 + 0.25) ** 0.5)
    assert row["frobenius_ratio"] == pytest.approx((40.25 / 21) ** 0.5)
    assert row["relative_change"] == pytest.approx(float((after - before).norm() / before.norm()))
    errors = ("output_orthogonality", "input_orthogonality", "rotation_error")
    assert all(row[column] is None for column in errors)
    assert 1 < row["effective_rank"] < 3


def test_a_rotation_moves_the_matrix_and_none_of_its_spectrum():
    before = with_spectrum([4.0, 2.0, 1.0])
    rotation = polar(torch.randn(3, 3, dtype=torch.float64))
    rotations = Rotations(rotation, None, rotation @ before)
    row = measure(0, rotation @ before, before, rotations)
    assert row["frobenius_ratio"] == pytest.approx(1, rel=1e-14)
    assert row["condition_ratio"] == pytest.approx(1, rel=1e-13)
    assert row["output_orthogonality"] < 1e-14
    assert row["input_orthogonality"] is None
    assert row["rotation_error"] == 0
    assert row["relative_change"] > 0.01


def test_factors_that_are_no_rotations_are_measured_as_such():
    before = with_spectrum([4.0, 2.0, 1.0])
    long = 1.1 * polar(torch.randn(3, 3, dtype=torch.float64))
    thin = 1.2 * polar(torch.randn(5, 5, dtype=torch.float64))[:, :3]
    row = measure(0, before, before, Rotations(long, thin, 1.5 * before))
    assert row["output_orthogonality"] == pytest.approx(0.21 * 3**0.5)
    assert row["input_orthogonality"] == pytest.approx(0.44 * 3**0.5)
    assert row["rotation_error"] == pytest.approx(0.5)


def test_what_turns_the_leading_directions_is_seen_beside_an_unmoved_spectrum():
    """A rotation of the output moves left directions and keeps the right ones, and its inverse."""
    before = with_spectrum([4.0, 2.0, 1.0])
    rotation = polar(torch.randn(3, 3, dtype=torch.float64))
    row = measure(0, rotation @ before, before, Rotations(rotation, None, rotation @ before))
    left = torch.linalg.svd(before)[0][:, 0]
    assert row["left_similarity"] == pytest.approx(float(left @ rotation @ left) ** 2, rel=1e-9)
    assert row["right_similarity"] == pytest.approx(1, rel=1e-12)
    other = polar(torch.randn(5, 5, dtype=torch.float64))
    row = measure(0, before @ other, before, Rotations(None, other.mT, before @ other))
    assert row["left_similarity"] == pytest.approx(1, rel=1e-12)
    assert row["right_similarity"] < 0.999
    # Turned together, rows keep their angles.
    assert row["energy_ratio"] == pytest.approx(1, rel=1e-9)
