"""Rotations by quadrature against the singular value decomposition."""

import math

import pytest
import torch

from mose.errors import NumericalError
from mose.linalg import low_rank_polar, orthogonal


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(size, count, condition, turn=1.5, seed=0):
    """retained, source, target: a spectrum over `condition`, sources that it makes likely."""
    basis, _ = torch.linalg.qr(draw(size, size, seed=seed))
    values = torch.logspace(-math.log10(condition), 0, size, dtype=torch.float64)
    retained = (basis * values) @ basis.mT
    source = basis @ (values.sqrt()[:, None] * draw(size, count, seed=seed + 1))
    target = source + turn * source.norm(dim=0) / size**0.5 * draw(size, count, seed=seed + 2)
    return (retained + retained.mT) / 2, source, target


@pytest.mark.parametrize("ratio", [1.0, 3.0, 1e3, 1e6, 1e10])
def test_the_quadrature_is_the_sign_of_every_number_in_its_range(ratio):
    nodes, weights = low_rank_polar.sign_quadrature(0.02, 0.02 * ratio)
    x = torch.logspace(math.log10(0.02), math.log10(0.02 * ratio), 500, dtype=torch.float64)
    terms = [w * x / (x**2 + s**2) for s, w in zip(nodes, weights, strict=True)]
    assert float((sum(terms) - 1).abs().max()) < 1e-12


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e7])
@pytest.mark.parametrize("count", [1, 6])
def test_the_rotation_is_that_of_the_singular_value_decomposition(condition, count, monkeypatch):
    retained, source, target = problem(160, count, condition)
    by_svd = orthogonal.procrustes(retained, source, target)

    def refuse(*_):
        pytest.fail("the full decomposition was used")

    monkeypatch.setattr(low_rank_polar, "procrustes", refuse)
    found = low_rank_polar.RotationSolver(retained).solve(source, target)
    # The matrices are float32's where they are turned back, which costs the objective nothing.
    drift = by_svd - torch.eye(160)
    assert float((found - by_svd).norm()) < 3e-7 * float(drift.norm())
    assert orthogonal.orthogonality_error(found) < 1e-10 * 160**0.5
    objectives = [
        orthogonal.procrustes_objective(r, retained, source, target) for r in (found, by_svd)
    ]
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-10)
    assert float(drift.norm()) > 0.1, "something must have been turned"


def test_few_vectors_are_turned_in_float64_alone():
    retained, source, target = problem(400, 1, 1e1)
    by_svd = orthogonal.procrustes(retained, source, target)
    found = low_rank_polar.RotationSolver(retained).solve(source, target)
    assert float((found - by_svd).norm()) < 1e-10


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e7])
def test_before_it_is_turned_back_it_is_that_of_the_decomposition(condition):
    retained, source, target = problem(160, 6, condition)
    values, basis = torch.linalg.eigh(retained)
    left, right = basis.mT @ target, basis.mT @ source
    bounds = low_rank_polar.singular_bounds(values, left, right)
    found = low_rank_polar.entrywise_polar(
        values, left, right, *low_rank_polar.sign_quadrature(*bounds)
    )
    by_svd = orthogonal.procrustes(retained, source, target)
    # Directions that hardly anything holds are hardly determined.
    assert float((basis @ found @ basis.mT - by_svd).norm()) < 1e-10 * max(1, condition / 1e4)


def test_eigenvalues_may_coincide():
    basis, _ = torch.linalg.qr(draw(120, 120))
    values = torch.tensor([0.01, 0.01, 1.0], dtype=torch.float64).repeat_interleave(40)
    values[80:] += 1e-9 * torch.arange(40)
    retained = (basis * values) @ basis.mT
    source, target = draw(120, 5, seed=1), draw(120, 5, seed=2)
    found = low_rank_polar.RotationSolver(retained).solve(source, target)
    by_svd = orthogonal.procrustes(retained, source, target)
    assert float((found - by_svd).norm()) < 3e-7 * float((by_svd - torch.eye(120)).norm())
    assert orthogonal.orthogonality_error(found) < 1e-11


@pytest.mark.parametrize("accuracy", [1e-3, 1e-12])
def test_what_the_quadrature_leaves_is_in_the_singular_values_only(accuracy):
    diagonal = torch.logspace(-2, 1, 90, dtype=torch.float64)
    left, right = draw(90, 4, seed=1), draw(90, 4, seed=2)
    matrix = torch.diag(diagonal) + left @ right.mT
    bounds = low_rank_polar.singular_bounds(diagonal, left, right)
    nodes, weights = low_rank_polar.sign_quadrature(*bounds, accuracy)
    found = low_rank_polar.entrywise_polar(diagonal, left, right, nodes, weights)
    u, _, vh = torch.linalg.svd(matrix)
    assert float((u.mT @ found @ vh.mT - torch.eye(90)).abs().max()) < 2 * accuracy
    apart = u.mT @ found @ vh.mT
    assert float((apart - torch.diag(apart.diagonal())).norm()) < 1e-9


def test_many_vectors_are_left_to_the_full_decomposition():
    retained, source, target = problem(40, 30, 1e3)
    found = low_rank_polar.RotationSolver(retained).solve(source, target)
    assert torch.equal(found, orthogonal.procrustes(retained, source, target))


@pytest.mark.parametrize("seed", range(5))
def test_the_bounds_hold_the_singular_values(seed):
    diagonal = torch.logspace(-3, 1, 50, dtype=torch.float64)
    left, right = draw(50, 4, seed=seed), draw(50, 4, seed=seed + 100)
    smallest, largest = low_rank_polar.singular_bounds(diagonal, left, right)
    found = torch.linalg.svdvals(torch.diag(diagonal) + left @ right.mT)
    assert smallest <= float(found[-1])
    assert float(found[0]) <= largest


def test_a_product_of_many_rotations_stays_orthogonal():
    retained, _, _ = problem(48, 1, 1e3)
    solver, product = low_rank_polar.RotationSolver(retained), torch.eye(48, dtype=torch.float64)
    for seed in range(200):
        _, source, target = problem(48, 1, 1e3, seed=seed)
        product = product @ solver.solve(source, product.mT @ target)
        product = orthogonal.reorthonormalise(product)
    assert orthogonal.orthogonality_error(product) < 1e-13 * 48


def test_a_rotation_that_is_not_unique_is_refused():
    retained, source, target = problem(60, 2, 1e2)
    direction = torch.linalg.eigh(retained)[1][:, :1]
    flat = retained - direction @ (direction.mT @ retained @ direction) @ direction.mT
    with pytest.raises(NumericalError, match="use more tokens"):
        low_rank_polar.RotationSolver(flat).solve(source, target)
    # Turned around altogether: H - 2 h h^T has a direction of nothing.
    value, basis = torch.linalg.eigh(retained)
    with pytest.raises(NumericalError, match="singular"):
        low_rank_polar.RotationSolver(retained).solve(basis[:, -1:], -value[-1] * basis[:, -1:])
    for odd in ((source, target * math.inf), (source * math.nan, target)):
        with pytest.raises(NumericalError, match="not finite"):
            low_rank_polar.RotationSolver(retained).solve(*odd)
