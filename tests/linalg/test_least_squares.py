"""Regularised least squares against explicit inverses, for few keys and for many."""

import pytest
import torch

from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.second_moment import SecondMoment

WIDTH, OUT, WEIGHT = 12, 7, 0.3


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def moment():
    samples = draw(WIDTH, 50, seed=1)
    return SecondMoment(samples @ samples.mT / 50)


@pytest.mark.parametrize("count", [1, WIDTH, WIDTH + 1, 5 * WIDTH])
def test_solution_objective_and_metric(count, moment):
    keys, wanted = draw(WIDTH, count, seed=2), draw(OUT, count, seed=3)
    fit = RegularisedLeastSquares(moment, WEIGHT, keys)
    metric = WEIGHT * moment.matrix + keys @ keys.mT
    inverse = torch.linalg.inv(metric)
    best = wanted @ keys.mT @ inverse
    assert torch.allclose(wanted @ fit.gain, best, atol=1e-10)
    missing = best @ keys - wanted
    objective = WEIGHT * ((best @ moment.matrix) * best).sum() + missing.square().sum()
    assert fit.least(wanted) == pytest.approx(float(objective), rel=1e-9)
    rows = draw(OUT, WIDTH, seed=4)
    assert torch.allclose(fit.times(rows), rows @ metric, atol=1e-10)
    assert torch.allclose(fit.solve(rows.mT), inverse @ rows.mT, atol=1e-9)


def test_few_keys_and_many_agree(moment):
    """Keys of zero change nothing, and take the other way."""
    keys, wanted = draw(WIDTH, 5, seed=2), draw(OUT, 5, seed=3)
    few = RegularisedLeastSquares(moment, WEIGHT, keys)
    nothing = torch.zeros(WIDTH, 3 * WIDTH, dtype=torch.float64)
    many = RegularisedLeastSquares(moment, WEIGHT, torch.cat([keys, nothing], dim=1))
    assert torch.allclose(many.gain[:5], few.gain, atol=1e-11)
    assert not many.gain[5:].any()
    padded = torch.cat([wanted, nothing[:OUT, :]], dim=1)
    assert many.least(padded) == pytest.approx(few.least(wanted), rel=1e-9)
