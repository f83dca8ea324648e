import pytest
import scipy.linalg
import torch

from mose.errors import NumericalError
from mose.linalg import gram, orthogonal, spectrum


def random_problem(d=24, n=5, weight=3.0, seed=0):
    """retained (weighted), kept vectors it came from, source, target."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kept = weight**0.5 * draw(d, 3 * d)
    return kept @ kept.mT, kept, draw(d, n), 2 * draw(d, n)


def test_procrustes_is_scipys_on_the_stacked_problem():
    retained, kept, source, target = random_problem()
    # scipy minimises ||A Q - B|| over Q acting from the right.
    stacked_from = torch.cat([kept, source], dim=1).mT.numpy()
    stacked_to = torch.cat([kept, target], dim=1).mT.numpy()
    right, _ = scipy.linalg.orthogonal_procrustes(stacked_from, stacked_to)
    found = orthogonal.procrustes(retained, source, target)
    assert torch.allclose(found, torch.from_numpy(right).mT, atol=1e-10)


def test_no_random_rotation_beats_procrustes():
    retained, _, source, target = random_problem()
    best = orthogonal.procrustes(retained, source, target)
    objective = orthogonal.procrustes_objective(best, retained, source, target)
    generator = torch.Generator().manual_seed(1)
    for scale in (1e-3, 1e-1, 10.0):
        for _ in range(20):
            skew = scale * torch.randn(24, 24, generator=generator, dtype=torch.float64)
            other = torch.linalg.matrix_exp(skew - skew.mT) @ best
            assert orthogonal.procrustes_objective(other, retained, source, target) > objective


def test_the_objective_is_what_the_definition_says():
    retained, kept, source, target = random_problem()
    rotation = orthogonal.polar(torch.randn(24, 24, dtype=torch.float64))
    by_definition = ((rotation @ kept - kept) ** 2).sum() + (
        (rotation @ source - target) ** 2
    ).sum()
    found = orthogonal.procrustes_objective(rotation, retained, source, target)
    assert found == pytest.approx(float(by_definition), rel=1e-12)


def test_infinite_retention_gives_the_identity():
    retained, _, source, target = random_problem()
    previous = None
    for weight in (1e2, 1e4, 1e6):
        found = orthogonal.procrustes(weight * retained, source, target)
        distance = float(torch.linalg.matrix_norm(found - torch.eye(24)))
        assert previous is None or distance < previous / 50
        previous = distance
    assert previous < 1e-5


def test_zero_residual_gives_the_identity():
    retained, _, source, _ = random_problem()
    found = orthogonal.procrustes(retained, source, source)
    assert torch.allclose(found, torch.eye(24, dtype=torch.float64), atol=1e-13)


def test_polar_is_orthogonal_to_rounding_even_when_ill_conditioned():
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -10, 60, dtype=torch.float64)
    matrix = torch.randn(60, 60, generator=generator, dtype=torch.float64) * scale
    assert orthogonal.orthogonality_error(orthogonal.polar(matrix)) < 1e-13


def test_polar_refuses_what_has_no_unique_factor():
    with pytest.raises(NumericalError, match="singular"):
        orthogonal.polar(torch.diag(torch.tensor([1.0, 2.0, 0.0])))
    with pytest.raises(NumericalError, match="not finite"):
        orthogonal.polar(torch.full((2, 2), float("nan")))


def test_reorthonormalise_squares_the_error():
    rotation = orthogonal.polar(torch.randn(20, 20, dtype=torch.float64))
    off = rotation + 1e-5 * torch.randn(20, 20, dtype=torch.float64)
    before = orthogonal.orthogonality_error(off)
    assert orthogonal.orthogonality_error(orthogonal.reorthonormalise(off)) < before**2


@pytest.mark.parametrize("size", [1, 7, 8, 50, 4100])
def test_half_a_gram_matrix_mirrored_is_the_whole(size):
    rows = torch.randn(30, size, dtype=torch.float64)
    total = torch.eye(size, dtype=torch.float64)
    for part in rows.split(11):
        gram.add_gram(total, part)
    whole = torch.eye(size) + rows.mT @ rows
    assert torch.allclose(total.triu(), whole.triu(), rtol=1e-13)
    assert torch.allclose(gram.mirror(total), whole, rtol=1e-13)


def test_rows_of_a_narrower_type_are_multiplied_in_it_and_added_in_the_totals():
    """Each entry is as exact as float32 sums of its own two columns, whatever others hold."""
    rows = torch.randn(500, 40) * torch.logspace(-4, 4, 40)
    total = torch.zeros(40, 40, dtype=torch.float64)
    for part in rows.split(100):
        gram.add_gram(total, part)
    whole = rows.double().mT @ rows.double()
    size = whole.diagonal().sqrt()
    error = ((total - whole) / (size * size[:, None])).triu()
    assert total.dtype == torch.float64
    assert 0 < float(error.abs().max()) < 1e-6


def test_points_on_the_sphere_keep_their_length():
    base, shift = torch.randn(7, 12, dtype=torch.float64), torch.randn(7, 12, dtype=torch.float64)
    moved = orthogonal.on_sphere(base, shift)
    assert torch.allclose(moved.norm(dim=-1), base.norm(dim=-1), rtol=1e-14)
    assert torch.allclose(
        torch.nn.functional.cosine_similarity(moved, base + shift), torch.ones(7).double()
    )
    assert torch.allclose(orthogonal.on_sphere(base, torch.zeros_like(base)), base, rtol=1e-15)


def test_effective_rank_of_known_spectra():
    assert spectrum.effective_rank(torch.ones(9)) == pytest.approx(9)
    assert spectrum.effective_rank(torch.tensor([5.0, 0.0, 0.0])) == pytest.approx(1)
