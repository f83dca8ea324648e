"""Optimisers of value targets: many small independent problems, one evaluation of all per step.

Each holds n points (n, d), of which some are active. A step is: evaluate losses and gradients at
`point`, `observe` the losses, `advance`. No request's result depends on the others.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

ADAM_BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8
# Of `MarginDescent`. The loss aimed at, relative to the one that ends the search, and how much of
# the way a step goes; the first radius, relative to the greatest shift, and its factors after a
# step that lowers the loss and after one that does not (relative to the length tried).
AIM, SHARE = 0.5, 0.7
FIRST_RADIUS, GROWTH, SHRINKAGE = 0.5, 1.5, 0.5


class Descent(ABC):
    """point: (n, d), where the loss is evaluated next; from zero. found: (n, d), the result so far;
    loss: (n,), there. limit: (n,), greatest length of a point, or infinity."""

    def __init__(self, limit: Tensor, width: int) -> None:
        self.limit = limit
        self.point = limit.new_zeros(len(limit), width)
        self.loss = torch.full_like(limit, torch.inf)

    @property
    @abstractmethod
    def found(self) -> Tensor:
        """The shifts found (n, d)."""

    @abstractmethod
    def observe(self, active: Tensor, going: Tensor, loss: Tensor) -> None:
        """Take the losses at `point[active]`. active: (m,) numbers; going: (m,) whether a request's
        search still goes on; what has ended stays as it is. loss: (m,)."""

    @abstractmethod
    def advance(self, active: Tensor, going: Tensor, gradient: Tensor) -> None:
        """Choose the next points. gradient: (m, d), of the losses observed last."""

    def _move(self, active: Tensor, going: Tensor, point: Tensor) -> None:
        """Set the next points, brought within the limit."""
        length = torch.linalg.vector_norm(point, dim=-1)
        within = point * (self.limit[active] / length).clamp(max=1)[:, None]
        self.point[active] = torch.where(going[:, None], within, self.point[active])


class Adam(Descent):
    """Adam (Kingma and Ba, 2015), as the methods are published."""

    def __init__(self, limit: Tensor, width: int, learning_rate: float) -> None:
        super().__init__(limit, width)
        self._rate = learning_rate
        self._first, self._second = torch.zeros_like(self.point), torch.zeros_like(self.point)
        self._steps = 0

    @property
    def found(self) -> Tensor:
        return self.point

    def observe(self, active: Tensor, going: Tensor, loss: Tensor) -> None:
        self.loss[active] = torch.where(going, loss, self.loss[active])

    def advance(self, active: Tensor, going: Tensor, gradient: Tensor) -> None:
        self._steps += 1
        first, second = self._first, self._second
        first[active] += (1 - ADAM_BETAS[0]) * (gradient - first[active])
        second[active] += (1 - ADAM_BETAS[1]) * (gradient**2 - second[active])
        mean = first[active] / (1 - ADAM_BETAS[0] ** self._steps)
        scale = (second[active] / (1 - ADAM_BETAS[1] ** self._steps)).sqrt() + ADAM_EPS
        self._move(active, going, self.point[active] - self._rate * mean / scale)


class MarginDescent(Descent):
    """Steps along the gradient, towards where a logistic loss would be low enough. Ours.

    A loss f is read as log(1 + exp(-m)), that of a margin m, which is closer to linear in the shift
    than f is. With f at the best point so far and its gradient g, the margin that f* = AIM
    stop_loss needs is expected at a distance of (m* - m) (1 - exp(-f)) / ||g|| along -g; a step
    goes SHARE of it. No step is longer than a radius, which grows after a lower loss and shrinks to
    a share of the length tried after a higher one. The best point is the result.
    """

    def __init__(self, limit: Tensor, width: int, stop_loss: float, scale: Tensor) -> None:
        """scale: (n,), the greatest shift that a first step is measured by."""
        super().__init__(limit, width)
        self._goal = _margin(limit.new_tensor(AIM * stop_loss))
        self._radius = FIRST_RADIUS * scale
        self._found, self._gradient = torch.zeros_like(self.point), torch.zeros_like(self.point)
        self._better = torch.zeros_like(limit, dtype=torch.bool)
        self._steps = 0

    @property
    def found(self) -> Tensor:
        return self._found

    def observe(self, active: Tensor, going: Tensor, loss: Tensor) -> None:
        before = self.loss[active]
        better = going & (loss < before)
        self._better[active] = better
        self.loss[active] = torch.where(better, loss, before)
        self._found[active] = torch.where(better[:, None], self.point[active], self._found[active])

    def advance(self, active: Tensor, going: Tensor, gradient: Tensor) -> None:
        self._steps += 1
        better, best, loss = self._better[active], self._found[active], self.loss[active]
        gradient = torch.where(better[:, None], gradient, self._gradient[active])
        self._gradient[active] = gradient
        tried = torch.linalg.vector_norm(self.point[active] - best, dim=-1)
        growth = GROWTH if self._steps > 1 else 1.0
        radius = torch.where(better, growth * self._radius[active], SHRINKAGE * tried)
        self._radius[active] = radius
        slope = torch.linalg.vector_norm(gradient, dim=-1).clamp(min=1e-30)
        # A loss of zero has an infinite margin, and nothing left to gain.
        missing = torch.where(loss > 0, self._goal - _margin(loss), 0.0)
        length = SHARE * missing * -torch.expm1(-loss) / slope
        step = torch.minimum(length, radius) / slope
        self._move(active, going, best - step[:, None] * gradient)


def _margin(loss: Tensor) -> Tensor:
    """m with log(1 + exp(-m)) = `loss`; infinity for 0."""
    return -(loss + torch.log(-torch.expm1(-loss)))
