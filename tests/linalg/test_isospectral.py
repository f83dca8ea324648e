"""Points of a spectrum: the nearest, the best in a metric, and the rotations that lead there."""

import pytest
import torch

from mose.errors import NumericalError
from mose.linalg.isospectral import Factors, Objective, aligned, best, decomposed, nearest
from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.orthogonal import orthogonality_error, polar
from mose.linalg.second_moment import SecondMoment

SHAPES = [(12, 30), (30, 12), (16, 16)]


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(size, scale, seed):
    skew = scale * draw(size, size, seed=seed)
    return torch.linalg.matrix_exp(skew - skew.mT)


def spectrum(matrix):
    return torch.linalg.svdvals(matrix)


def problem(n=6, lam=0.5, d=12, p=30, size=1.0):
    """W_0, least squares on n keys, and the wanted changes of the values."""
    sample = draw(p, 4 * p, seed=1) * torch.logspace(0, -1, p, dtype=torch.float64)[:, None]
    fit = RegularisedLeastSquares(
        SecondMoment(sample @ sample.mT / (4 * p)), lam, draw(p, n, seed=2)
    )
    return draw(d, p, seed=3), fit, size * draw(d, n, seed=4)


def best_from(additive, fit, start, **limits):
    objective = Objective(additive, fit)
    return best(objective, objective.at(start), **limits)


def objective(matrix, wanted, fit):
    return float((fit.times(matrix - wanted) * (matrix - wanted)).sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_nearest_point_has_the_spectrum_and_mirskys_distance(shape):
    matrix, values = draw(*shape), spectrum(draw(*shape, seed=1))
    point = nearest(matrix, values).polished().matrix
    assert torch.allclose(spectrum(point), values, rtol=1e-12)
    distance = float(torch.linalg.matrix_norm(matrix - point))
    assert distance == pytest.approx(float((spectrum(matrix) - values).norm()), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_rotation_of_the_nearest_point_is_nearer(shape):
    matrix, values = draw(*shape), spectrum(draw(*shape, seed=1))
    point = nearest(matrix, values).matrix
    least = torch.linalg.matrix_norm(matrix - point)
    for seed in range(20):
        for scale in (1e-3, 0.1, 3.0):
            left, right = (rotation(n, scale, seed + i) for i, n in enumerate(shape))
            assert torch.linalg.matrix_norm(matrix - left @ point @ right) > least


def test_a_matrix_of_the_spectrum_is_its_own_nearest_point():
    matrix = draw(12, 30)
    again = nearest(matrix, spectrum(matrix)).polished().matrix
    assert torch.allclose(again, matrix, atol=1e-12)


def test_the_spectrum_is_exact_for_ill_conditioned_matrices():
    scale = torch.logspace(0, -5, 12, dtype=torch.float64)[:, None]
    values = spectrum(scale * draw(12, 30, seed=1))
    point = nearest(scale * draw(12, 30), values).polished()
    assert orthogonality_error(point.left) < 1e-12
    assert orthogonality_error(point.right) < 1e-12
    # Rounding of the product is relative to the largest singular value.
    assert torch.allclose(spectrum(point.matrix), values, rtol=1e-12, atol=1e-14 * float(values[0]))


def test_what_has_no_nearest_point_is_refused_with_the_cure():
    low = draw(12, 3) @ draw(3, 30, seed=1)
    with pytest.raises(NumericalError, match=r"edited matrix .* too large.*raise lambda"):
        nearest(low, torch.ones(12))
    values = spectrum(low)
    with pytest.raises(NumericalError, match=r"unedited matrix has rank 3 of 12 .*\(layers\)"):
        nearest(low, values)
    # The edit need not be small: the cause is what it started from.
    with pytest.raises(NumericalError, match="unedited matrix has rank 3 of 12 "):
        nearest(low + 1e3 * draw(12, 1) @ draw(1, 30, seed=1), values)
    with pytest.raises(NumericalError, match=r"not finite.*learning_rate"):
        nearest(torch.full((3, 4), float("nan")), torch.ones(3))


def test_the_metric_is_that_of_least_squares():
    weight, fit, wanted = problem()
    moment, keys = fit._moment.matrix, fit._keys
    metric = 0.5 * moment + keys @ keys.mT
    rows, columns = draw(5, 30, seed=8), draw(30, 5, seed=9)
    assert torch.allclose(fit.times(rows), rows @ metric, rtol=1e-11)
    assert torch.allclose(fit.solve(columns), torch.linalg.solve(metric, columns), rtol=1e-9)
    # Delta* by the normal equations, its objective by the definition, and the completed square.
    solution = torch.linalg.solve(metric, keys @ wanted.mT).mT
    assert torch.allclose(wanted @ fit.gain, solution, atol=1e-11)

    def defined(delta):
        missing = delta @ keys - wanted
        return float(0.5 * ((delta @ moment) * delta).sum() + (missing**2).sum())

    assert fit.least(wanted) == pytest.approx(defined(solution), rel=1e-11)
    other = draw(*weight.shape, seed=10)
    excess = objective(other, solution, fit)
    assert defined(other) == pytest.approx(fit.least(wanted) + excess, rel=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_point_has_the_image_and_objective_of_its_definition(shape):
    """Also where the image comes from that of the matrix that was projected."""
    _, fit, _ = problem(d=shape[0], p=shape[1])
    matrix, wanted, values = draw(*shape), draw(*shape, seed=1), spectrum(draw(*shape, seed=2))
    places = Objective(wanted, fit)
    for place in (
        places.nearest(matrix, fit.times(matrix), values),
        places.at(nearest(matrix, values)),
    ):
        assert torch.equal(place.matrix, nearest(matrix, values).matrix)
        assert torch.allclose(place.image, fit.times(place.matrix), rtol=1e-9, atol=1e-9)
        assert place.value == pytest.approx(objective(place.matrix, wanted, fit), rel=1e-9)


def projected_gradients(additive, fit, values, steps=600):
    """Accelerated, restarted when the objective rises: the plain way to `best`."""
    metric = fit.times(torch.eye(additive.shape[1], dtype=torch.float64))
    length = 1 / float(torch.linalg.eigvalsh(metric)[-1])
    now = ahead = nearest(additive, values).matrix
    momentum = 1.0
    for _ in range(steps):
        moved = nearest(ahead - length * (ahead - additive) @ metric, values).matrix
        if objective(moved, additive, fit) > objective(now, additive, fit):
            ahead, momentum = now, 1.0
            continue
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - now)
        now, momentum = moved, following
    return now


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_best_agrees_with_projected_gradients_and_is_stationary(size):
    """Against a plain solver that shares nothing but the projection."""
    weight, fit, wanted = problem(size=size)
    additive, values = weight + wanted @ fit.gain, spectrum(weight)
    start = nearest(additive, values)
    found = best_from(additive, fit, start, tolerance=0.0, most_steps=500)
    assert found.objective < objective(start.matrix, additive, fit)
    slow = objective(projected_gradients(additive, fit, values), additive, fit)
    assert found.objective == pytest.approx(slow, rel=1e-3)
    assert found.objective == pytest.approx(objective(found.point.matrix, additive, fit))
    # The gradient is normal to the set: diagonal between singular vectors.
    gradient = fit.times(found.point.matrix - additive)
    inner = found.point.left.mT @ gradient @ found.point.right
    tangent = gradient - (found.point.left * inner.diagonal()) @ found.point.right.mT
    assert torch.linalg.matrix_norm(tangent) < 1e-4 * torch.linalg.matrix_norm(gradient)


def test_best_of_few_steps_is_close_and_says_how_many():
    weight, fit, wanted = problem()
    additive = weight + wanted @ fit.gain
    start = nearest(additive, spectrum(weight))
    begin = objective(start.matrix, additive, fit)
    end = best_from(additive, fit, start, tolerance=0.0, most_steps=2000).objective
    few = best_from(additive, fit, start, tolerance=1e-3)
    assert 1 <= few.steps <= 20
    assert few.objective - end < 0.1 * (begin - end)
    none = best_from(additive, fit, start, tolerance=0.0, most_steps=0)
    assert none.objective == pytest.approx(begin)


def test_the_tolerance_is_a_share_of_the_whole_objective():
    """With a large constant part the first step lowers it by too little to go on."""
    weight, fit, wanted = problem()
    additive = weight + wanted @ fit.gain
    start = nearest(additive, spectrum(weight))
    begin = objective(start.matrix, additive, fit)
    offset = Objective(additive, fit, least=1e4 * begin)
    found = best(offset, offset.at(start), tolerance=1e-3)
    assert found.steps == 1 < best_from(additive, fit, start, tolerance=1e-3).steps
    one = best_from(additive, fit, start, tolerance=0.0, most_steps=1)
    assert found.objective == pytest.approx(offset.least + one.objective, rel=1e-12)


def test_best_finds_what_rotations_can_write_exactly():
    """Values that a rotation by small angles gives are written, for little retention."""
    weight, fit, _ = problem(lam=1e-7)
    keys = fit._keys
    moved = rotation(12, 0.02, 5) @ weight @ rotation(30, 0.02, 6)
    wanted = (moved - weight) @ keys
    additive = weight + wanted @ fit.gain
    found = best_from(
        additive, fit, nearest(additive, spectrum(weight)), tolerance=0.0, most_steps=500
    )
    missed = (found.point.matrix - moved) @ keys
    assert torch.linalg.matrix_norm(missed) < 1e-4 * torch.linalg.matrix_norm(wanted)


def test_the_one_sided_forms_are_the_best_rotations_of_one_side():
    """A* H W_0^T = lambda W_0 C W_0^T + V (W_0 K)^T, the matrix of published MOSE."""
    weight, fit, wanted = problem()
    moment, keys = fit._moment.matrix, fit._keys
    values = weight @ keys
    additive = weight + wanted @ fit.gain
    ours = polar(fit.times(additive) @ weight.mT)
    published = polar(0.5 * weight @ moment @ weight.mT + (values + wanted) @ values.mT)
    assert torch.allclose(ours, published, atol=1e-11)
    # Two sides are never worse than one.
    start = nearest(additive, spectrum(weight))
    both = best_from(additive, fit, start, tolerance=0.0, most_steps=500).objective
    assert both < objective(published @ weight, additive, fit)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("equal", [False, True])
def test_rotations_lead_from_one_matrix_to_the_other(shape, equal):
    before = draw(*shape)
    if equal:  # three singular values that are one
        factors = decomposed(before)
        values = factors.values.clone()
        values[2:5] = values[3]
        before = Factors(factors.left, values, factors.right).matrix
    left, right = (rotation(n, 0.01, seed) for seed, n in enumerate(shape))
    after = left @ before @ right
    unedited = decomposed(before)
    edited = aligned(unedited, decomposed(after))
    assert orthogonality_error(edited.left) < 1e-12
    assert orthogonality_error(edited.right) < 1e-12
    product = Factors(edited.left, unedited.values, edited.right).matrix
    assert torch.allclose(product, after, atol=1e-12)
    # R and Q are as near to I as those that were used, if not nearer.
    for found, vectors, used in (
        (edited.left, unedited.left, left),
        (edited.right, unedited.right, right.mT),
    ):
        size = len(found)
        moved = torch.linalg.matrix_norm(found - vectors)
        assert moved < 2 * torch.linalg.matrix_norm(used - torch.eye(size, dtype=torch.float64))


def test_signs_are_aligned():
    before = decomposed(draw(12, 30))
    flipped = Factors(-before.left, before.values, -before.right)
    assert torch.allclose(aligned(before, flipped).left, before.left, atol=1e-12)
