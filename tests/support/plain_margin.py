"""Margin steps as a loop in plain numbers, for one request."""

import math

import torch

from mose.editing.descent import AIM, FIRST_RADIUS, GROWTH, SHARE, SHRINKAGE


def plain_margin_descent(loss_at, width, steps, stop_loss, limit, scale):
    """Points and losses of all steps, and the best point, from zero.

    loss_at: of a point (width,) float64. stop_loss, limit, scale: as of `MarginDescent`.
    """
    best, best_loss, gradient_there = [0.0] * width, math.inf, None
    radius, point, points, losses = FIRST_RADIUS * scale, [0.0] * width, [], []
    for step in range(steps):
        x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
        loss = loss_at(x)
        (gradient,) = torch.autograd.grad(loss, x)
        points.append(point)
        losses.append(loss.item())
        if losses[-1] < best_loss:
            best, best_loss, gradient_there = point, losses[-1], gradient.tolist()
            radius *= GROWTH if step else 1.0
        else:
            radius = SHRINKAGE * math.dist(point, best)
        slope = math.hypot(*gradient_there)
        wanted = -math.log(math.exp(AIM * stop_loss) - 1)
        present = -math.log(math.exp(best_loss) - 1)
        length = SHARE * (wanted - present) * (1 - math.exp(-best_loss)) / slope
        length = min(length, radius)
        point = [b - length * g / slope for b, g in zip(best, gradient_there, strict=True)]
        over = math.hypot(*point) / limit
        point = [p / over for p in point] if over > 1 else point
    return points, losses, best
