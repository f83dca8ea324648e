"""LyapLock (EMNLP 2025, arXiv 2505.15702): old knowledge weighs more once it has suffered too much.

Every batch is solved from the unedited W_0. With the keys K_p of earlier edits and V_p, what the
weight gave for them right after they were written,

    W' = argmin lambda q tr((W' - W_0) C (W' - W_0)^T) + ||W' K_p - V_p||^2 + ||W' K - (W K + R)||^2

Let D = tr((W - W_0) C (W - W_0)^T) be the loss of old knowledge, D_1 that after the first batch. q
is 1 at first and, after every batch,

    q <- max(1, q + D / (alpha D_1) - 1)

so it grows while D is above alpha times D_1: a queue whose length keeps a bound on average
(Lyapunov optimisation). In the authors' terms q is a Z, with their weights V = 1, b = 0,
a = 1 / sqrt(alpha D_1) and Z_0 = z_max = sqrt(alpha D_1).
Options: LyapLockOptions (`lambda`, `allowance` is alpha).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg.least_squares import RegularisedLeastSquares
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import AdditiveEditor
from mose.methods.sequence_options import LyapLockOptions


class LyapLockEditor(AdditiveEditor):
    """The state has, beside weight and keys, the values V_p (n, d_out) and the queue: q and D_1."""

    remembers = True

    def __init__(self, weight: Tensor, moment: SecondMoment, options: LyapLockOptions) -> None:
        super().__init__(weight)
        self._moment, self._options = moment, options
        self._unedited = self._weight
        self._values = weight.new_empty(weight.shape[0], 0, dtype=torch.float64)
        # D_1 is 0 until a batch has changed something.
        self._queue, self._first = 1.0, 0.0

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        present, unedited = self._weight.to(torch.float64), self._unedited.to(torch.float64)
        wanted = torch.cat([self._values, present @ keys + residuals], dim=1)
        every = torch.cat([self._earlier, keys], dim=1)
        weight = self._options.retention_weight * self._queue
        gain = RegularisedLeastSquares(self._moment, weight, every).gain
        return unedited + (wanted - unedited @ every) @ gain - present

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        super().update(keys, residuals, prompt_keys)
        present = self._weight.to(torch.float64)
        self._values = torch.cat([self._values, present @ keys], dim=1)
        change = present - self._unedited.to(torch.float64)
        loss = float(((change @ self._moment.matrix) * change).sum())
        self._first = self._first or loss
        if self._first:
            grown = self._queue + loss / (self._options.allowance * self._first) - 1.0
            self._queue = max(1.0, grown)

    def state(self) -> dict[str, Tensor]:
        queue = torch.tensor([self._queue, self._first], dtype=torch.float64)
        return {**super().state(), "values": self._values.mT, "queue": queue}

    def load(self, state: Mapping[str, Tensor]) -> None:
        super().load(state)
        self._values = state["values"].mT.clone()
        self._queue, self._first = state["queue"].tolist()
