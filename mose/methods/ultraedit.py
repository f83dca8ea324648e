"""UltraEdit (Gu et al. 2025, TMLR, arXiv 2505.14679): one gradient, no subject, no statistics.

At the m places of a batch that the answers' tokens are predicted from, let H (d_in, m) hold the
keys and G (d_out, m) the gradients of the loss with respect to the projection's output. With mean
and deviation of every entry of [h; g] over all places of all layers and batches so far,

    (h', g') = ([h; g] - mean) / (deviation + 1.2e-7)
    v = -eta ||h'||^2 g',    Delta = V (H^T H + rho I)^-1 H^T,    W <- W + Delta

the regression of V on the raw keys of the batch; the authors have rho = 1 and solve
(H H^T + rho I) Delta^T = H V^T, of size d_in, which is the same. The statistics are the only
memory. One mean serves all layers, as in the authors' code, which has one per shape of a module.

The deviation's divisor is n - 1, and what is added is float32's epsilon, as in EasyEdit's form of
the method and in StableEdit's, which both share MALMEN's normaliser. The variance is that of all
places. The authors add up unbiased variances of minibatches, each weighted with its number of
places, which is larger by 1 / (places - 1) of itself.
Options: UltraEditOptions (`learning_rate` is eta, `ridge` is rho).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import SignalEditor
from mose.methods.signal_options import UltraEditOptions

EPS = torch.finfo(torch.float32).eps


class Moments:
    """Running mean and variance of the entries of vectors (width,), float64."""

    def __init__(self, width: int) -> None:
        self.count = torch.zeros(1, dtype=torch.float64)
        self.mean = torch.zeros(width, dtype=torch.float64)
        # Sum of the squared distances from the mean.
        self.squares = torch.zeros(width, dtype=torch.float64)

    def add(self, columns: Tensor) -> None:
        """Add vectors (width, m): the parallel rule of Chan, Golub & LeVeque (1983)."""
        count = columns.shape[1]
        if not count:
            return
        mean = columns.mean(dim=1)
        apart = mean - self.mean
        total = self.count + count
        self.squares = (
            self.squares
            + (columns - mean[:, None]).square().sum(dim=1)
            + apart.square() * self.count * count / total
        )
        self.mean = self.mean + apart * count / total
        self.count = total

    def normalised(self, columns: Tensor) -> Tensor:
        """(columns - mean) / (deviation + EPS) for columns (width, m)."""
        deviation = (self.squares / (self.count - 1).clamp(min=1)).sqrt()
        return (columns - self.mean[:, None]) / (deviation + EPS)[:, None]


class UltraEditEditor(SignalEditor):
    """The state is the weight (d_out, d_in) float32, and the moments of keys and gradients."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: UltraEditOptions
    ) -> None:
        self._weight = weight.to(torch.float32)
        self._options = options
        self._moments = Moments(sum(weight.shape))

    @property
    def weight(self) -> Tensor:
        return self._weight

    def observe(self, keys: Tensor, gradients: Tensor) -> None:
        self._moments.add(torch.cat([keys, gradients]))

    def normalised(self, keys: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """h' (d_in, m) and g' (d_out, m) of keys and gradients of the same shapes."""
        both = self._moments.normalised(torch.cat([keys, gradients]))
        key, gradient = both.split([len(keys), len(gradients)])
        return key, gradient

    def update(self, keys: Tensor, gradients: Tensor) -> None:
        key, gradient = self.normalised(keys, gradients)
        wanted = -self._options.learning_rate * key.square().sum(dim=0) * gradient
        gram = keys.mT @ keys
        gram.diagonal().add_(self._options.ridge)
        delta = wanted @ torch.cholesky_solve(keys.mT, torch.linalg.cholesky(gram))
        self._weight = (self._weight.to(torch.float64) + delta).to(torch.float32)

    def state(self) -> dict[str, Tensor]:
        moments = self._moments
        return {
            "weight": self._weight,
            "count": moments.count,
            "mean": moments.mean,
            "squares": moments.squares,
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._weight = state["weight"].to(torch.float32, copy=True)
        for name in ("count", "mean", "squares"):
            setattr(self._moments, name, state[name].clone())
