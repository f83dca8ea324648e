"""Optimisers of value targets: against scalar loops, on losses whose minima are known."""

import math

import pytest
import torch
from plain_margin import plain_margin_descent

from mose.editing.descent import AIM, SHARE, MarginDescent


def logistic(normals, offsets, points):
    """Losses log(1 + exp(-(a . x - b))) of single margins, (n,)."""
    return torch.nn.functional.softplus(offsets - (normals * points).sum(-1))


def minimise(descent, losses_at, steps):
    """Losses of all requests at each step; all go on to the end."""
    active = torch.arange(len(descent.point))
    going = torch.ones_like(active, dtype=torch.bool)
    seen = []
    for _ in range(steps):
        point = descent.point.clone().requires_grad_()
        loss = losses_at(point)
        (gradient,) = torch.autograd.grad(loss.sum(), point)
        descent.observe(active, going, loss.detach())
        descent.advance(active, going, gradient)
        seen.append(loss.detach())
    return torch.stack(seen)


def test_a_step_goes_its_share_of_the_way_to_the_margin_wanted():
    """A loss that is logistic in a linear margin, which is met exactly."""
    torch.manual_seed(0)
    normals = torch.randn(5, 8, dtype=torch.float64)
    offsets = torch.tensor([0.1, 1.0, 3.0, 9.0, 40.0], dtype=torch.float64)
    limit = torch.full((5,), torch.inf, dtype=torch.float64)
    descent = MarginDescent(limit, 8, 0.05, torch.full_like(limit, 1e3))
    seen = minimise(descent, lambda x: logistic(normals, offsets, x), 2)
    first, second = -torch.log(torch.expm1(seen))
    wanted = -math.log(math.expm1(AIM * 0.05))
    assert torch.allclose(second - first, SHARE * (wanted - first), rtol=1e-9)
    assert torch.equal(descent.loss, seen[1])


@pytest.mark.parametrize("limit", [0.8, 5.0])
def test_a_batch_is_a_plain_loop_over_requests(limit):
    """Means of many margins: some steps are refused, radii shrink and grow."""
    torch.manual_seed(1)
    normals = torch.randn(4, 6, 8, dtype=torch.float64) * 3
    offsets = torch.randn(4, 6, dtype=torch.float64) * 4
    offsets[0] = 0.5

    def losses_at(points):
        margins = torch.einsum("npd,nd->np", normals, points) - offsets
        return torch.nn.functional.softplus(-margins).mean(-1)

    limits = torch.full((4,), limit, dtype=torch.float64)
    descent = MarginDescent(limits, 8, 0.05, limits)
    seen = minimise(descent, losses_at, 12)
    refused = grown = 0
    for i in range(4):
        alone = lambda x, i=i: losses_at(x.expand(4, -1))[i]  # noqa: E731
        _, losses, best = plain_margin_descent(alone, 8, 12, 0.05, limit, limit)
        assert torch.allclose(seen[:, i], torch.tensor(losses, dtype=torch.float64), rtol=1e-8)
        assert torch.allclose(descent.found[i], torch.tensor(best, dtype=torch.float64), rtol=1e-8)
        assert descent.loss[i] == pytest.approx(min(losses), rel=1e-9)
        refused += sum(b >= min(losses[: k + 1]) for k, b in enumerate(losses[1:]))
        grown += sum(b < min(losses[: k + 1]) for k, b in enumerate(losses[1:]))
    assert refused > 0
    assert grown > 0


def test_what_has_ended_stays_as_it_is():
    normals, offsets = torch.eye(3), torch.tensor([1.0, 2.0, 3.0])
    limit = torch.full((3,), torch.inf)
    descent = MarginDescent(limit, 3, 0.05, torch.ones(3))
    minimise(descent, lambda x: logistic(normals, offsets, x), 1)
    point, loss = descent.point.clone(), descent.loss.clone()
    active, going = torch.arange(3), torch.tensor([True, False, True])
    descent.observe(active, going, torch.zeros(3))
    descent.advance(active, going, torch.ones(3, 3))
    assert torch.equal(descent.point[1], point[1])
    assert descent.loss[1] == loss[1]
    assert (descent.loss[[0, 2]] == 0).all()


def test_a_loss_without_slope_or_threshold_gives_finite_points():
    limit = torch.full((2,), 3.0)
    descent = MarginDescent(limit, 4, 0.0, limit)
    active, going = torch.arange(2), torch.ones(2, dtype=torch.bool)
    descent.observe(active, going, torch.tensor([2.0, 0.0]))
    descent.advance(active, going, torch.tensor([[0.0] * 4, [1.0] * 4]))
    assert torch.isfinite(descent.point).all()
