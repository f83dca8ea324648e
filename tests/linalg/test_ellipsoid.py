"""The nearest direction on an ellipsoid against a general optimiser."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mose.linalg.ellipsoid import nearest_direction

SIZE = 6


def by_optimiser(gains, point, present):
    """The minimiser over the ball, as a unit vector, by sequential quadratic programming."""
    median = float(torch.from_numpy(np.abs(gains)).median())
    hold = (0.01 * median) ** 2
    found = minimize(
        lambda u: np.sum((gains * u - point) ** 2) + hold * np.sum((u - present) ** 2),
        np.ones(SIZE),
        jac=lambda u: 2 * gains * (gains * u - point) + 2 * hold * (u - present),
        constraints={"type": "ineq", "fun": lambda u: SIZE - u @ u, "jac": lambda u: -2 * u},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x / np.linalg.norm(found.x)


def on_sphere(rng, rows):
    points = torch.from_numpy(rng.normal(size=(rows, SIZE)))
    return torch.nn.functional.normalize(points, dim=-1) * SIZE**0.5


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 30.0])
def test_it_is_what_a_general_optimiser_finds(scale):
    rng = np.random.default_rng(0)
    gains = rng.uniform(0.5, 2, SIZE) * np.array([1, -1, 1, 1, -1, 0.1])
    points, present = scale * rng.normal(size=(4, SIZE)), on_sphere(rng, 4)
    found = nearest_direction(torch.from_numpy(gains), torch.from_numpy(points), present)
    for i, row in enumerate(found.numpy()):
        expected = by_optimiser(gains, points[i], present[i].numpy())
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_a_point_of_the_ellipsoid_is_its_own_nearest_and_a_gain_of_zero_moves_nothing():
    rng = np.random.default_rng(1)
    gains = torch.from_numpy(rng.uniform(0.5, 2, SIZE))
    wanted, present = on_sphere(rng, 3), on_sphere(rng, 3)
    found = nearest_direction(gains, gains * wanted, present) * SIZE**0.5
    assert torch.allclose(found, wanted, atol=2e-3)
    gains[0] = 0.0
    length = torch.linalg.vector_norm(wanted[:, 1:], dim=-1, keepdim=True)
    wanted[:, 1:] *= (SIZE - present[:, :1] ** 2).sqrt() / length
    wanted[:, 0] = present[:, 0]
    found = nearest_direction(gains, gains * wanted, present) * SIZE**0.5
    assert torch.allclose(found, wanted, atol=2e-3)
