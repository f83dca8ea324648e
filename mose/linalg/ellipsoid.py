"""The direction whose image on an ellipsoid is nearest to a point.

An RMS norm with gains g maps y (d,) to g * u with u = sqrt(d) y / ||y||: a point of an ellipsoid,
whatever the length of y. To write a wanted output t is to find such a u.
"""

import torch
from torch import Tensor

HALVINGS = 100
# Coordinates with gains far below this share of the median hardly move: they would have to move
# far for nothing. Trained models have a few, some of them zero.
SMALL_GAIN = 0.01


def nearest_direction(gains: Tensor, points: Tensor, present: Tensor) -> Tensor:
    """Unit vectors (n, d) float64 along the minimisers of

        ||g * u - t||^2 + (0.01 median |g|)^2 ||u - u0||^2    over ||u||^2 <= d.

    gains: g (d,). points: t (n, d). present: u0 (n, d), ||u0||^2 = d, from which u should not move
    for nothing. For t on the ellipsoid the image of the result is t, but for the second term. For
    t outside it is the nearest point of the ellipsoid; within, the direction of t / g. The problem
    is convex, so its solution is unique and depends continuously on t.

    u = (g t + r u0) / (g^2 + r + m), with the least m >= 0 for which ||u||^2 <= d (the trust-region
    problem; Nocedal and Wright, Numerical Optimization, section 4.3), by bisection.
    """
    gains, points, present = (t.to(torch.float64) for t in (gains, points, present))
    size = points.shape[-1]
    hold = (SMALL_GAIN * gains.abs().median()) ** 2
    product, square = gains * points + hold * present, gains**2 + hold

    def excess(multiplier: Tensor) -> Tensor:
        return ((product / (square + multiplier)) ** 2).sum(-1, keepdim=True) - size

    low = torch.zeros_like(points[..., :1])
    # ||u|| <= ||product|| / m.
    high = torch.linalg.vector_norm(product, dim=-1, keepdim=True) / size**0.5
    high = torch.where(excess(low) > 0, high, low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = excess(middle) > 0
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    return torch.nn.functional.normalize(product / (square + high), dim=-1)
