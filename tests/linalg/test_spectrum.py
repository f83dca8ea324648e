"""Leading subspaces and the energy of rows, against decompositions and sums over pairs."""

import math

import pytest
import torch

from mose.linalg import spectrum
from mose.linalg.orthogonal import polar


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (20, 20)])
def test_leading_subspaces_are_those_of_the_singular_vectors(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape, dtype=torch.float64)
    left, right = spectrum.leading_subspaces(matrix, 4)
    u, _, vh = torch.linalg.svd(matrix)
    for found, vectors in ((left, u[:, :4]), (right, vh[:4].mT)):
        assert torch.allclose(found @ found.mT, vectors @ vectors.mT, atol=1e-10)
        assert torch.allclose(found.mT @ found, torch.eye(4, dtype=torch.float64), atol=1e-12)


def test_similarity_is_the_squared_cosine_of_the_angles():
    axes = torch.eye(6, dtype=torch.float64)
    turned = axes[:, :2].clone()
    turned[:, 1] = math.cos(0.3) * axes[:, 1] + math.sin(0.3) * axes[:, 4]
    found = spectrum.subspace_similarity(axes[:, :2], turned)
    assert found == pytest.approx((1 + math.cos(0.3) ** 2) / 2, rel=1e-12)
    mixing = polar(torch.randn(2, 2, dtype=torch.float64))
    assert spectrum.subspace_similarity(axes[:, :2], axes[:, :2] @ mixing) == pytest.approx(1)
    assert spectrum.subspace_similarity(axes[:, :2], axes[:, 2:4]) == 0


def test_energy_is_a_sum_over_pairs_of_directions():
    torch.manual_seed(1)
    matrix = torch.randn(7, 5, dtype=torch.float64)
    rows = [row / row.norm() for row in matrix]
    plain = sum(1 / float((a - b).norm()) for i, a in enumerate(rows) for b in rows[:i])
    assert spectrum.hyperspherical_energy(matrix) == pytest.approx(plain, rel=1e-12)
    assert spectrum.hyperspherical_energy(3 * matrix) == pytest.approx(plain, rel=1e-12)
    turned = matrix @ polar(torch.randn(5, 5, dtype=torch.float64))
    assert spectrum.hyperspherical_energy(turned) == pytest.approx(plain, rel=1e-9)
