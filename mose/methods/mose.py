"""MOSE: multiplicative orthogonal sequential editing (AAAI 2026, arXiv 2601.07873).

Published form (side output, free targets, no memory): W <- R W with

    R = argmin over orthogonal R of  lambda E||R W k - W k||^2 + ||R W K - V||_F^2
      = polar(lambda W C W^T + V (W K)^T)

so that norm, singular values and condition number of W cannot change. S = W C W^T is formed
once; after an update it is R S R^T.

The other forms are proposals of this project (docs/methods.md): rotating the input side,
W <- W Q with Q = polar(lambda C + K* K^T), where K* is where the keys should be turned to; and
keeping one matrix M for all edits so far in place of a product of rotations.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg import polar, procrustes, reorthonormalise
from mose.methods.base import ClosedFormEditor, Editor
from mose.moments import SecondMoment
from mose.options import MoseOptions


def mose_editor(weight: Tensor, moment: SecondMoment, options: MoseOptions) -> Editor:
    """The editor of one layer for a variant's side."""
    kind = OutputRotation if options.side == "output" else InputRotation
    return kind(weight, moment, options)


class OutputRotation(ClosedFormEditor):
    """W = R W0, R (d_out, d_out).

    memory none: R is a product of one rotation per batch.
    memory accumulate: R = polar(lambda W0 C W0^T + sum_i v_i (W0 k_i)^T) over all edits i so far;
    the sum is the memory ("pull").
    """

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MoseOptions) -> None:
        self._base = weight.to(torch.float64)
        self._retained = options.retention_weight * (self._base @ moment.matrix @ self._base.mT)
        self._options = options
        size = weight.shape[0]
        self._rotation = torch.eye(size, dtype=torch.float64)
        self._pull = torch.zeros(size, size, dtype=torch.float64)

    @property
    def rotation(self) -> Tensor:
        return self._rotation

    @property
    def weight(self) -> Tensor:
        return self._rotation @ self._base

    def update(self, keys: Tensor, residuals: Tensor, bare: Tensor | None = None) -> None:
        values = self.weight @ keys
        if self._options.memory == "accumulate":
            self._pull = self._pull + (values + residuals) @ (self._base @ keys).mT
            self._rotation = polar(self._retained + self._pull)
            return
        retained = self._rotation @ self._retained @ self._rotation.mT
        step = procrustes(retained, values, values + residuals)
        self._rotation = reorthonormalise(step @ self._rotation)

    def state(self) -> dict[str, Tensor]:
        state = {"rotation": self._rotation}
        if self._options.memory == "accumulate":
            state["pull"] = self._pull
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._rotation = state["rotation"]
        if self._options.memory == "accumulate":
            self._pull = state["pull"]

    def undo(self) -> Tensor:
        return self._rotation.mT @ self.weight


class InputRotation(ClosedFormEditor):
    """W = W0 Q, Q (d_in, d_in).

    memory none: Q is a product of one rotation per batch, and is stored.
    memory accumulate: Q = polar(lambda C + K* K^T) over all edits so far; the pairs (K, K*),
    n x d_in each, are the memory, and Q is computed from them again when loaded.
    """

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MoseOptions) -> None:
        self._base = weight.to(torch.float64)
        self._retained = options.retention_weight * moment.matrix
        self._options = options
        size = weight.shape[1]
        self._rotation = torch.eye(size, dtype=torch.float64)
        self._keys = torch.empty(size, 0, dtype=torch.float64)
        self._key_targets = torch.empty(size, 0, dtype=torch.float64)

    @property
    def rotation(self) -> Tensor:
        return self._rotation

    @property
    def weight(self) -> Tensor:
        return self._base @ self._rotation

    def update(self, keys: Tensor, residuals: Tensor, bare: Tensor | None = None) -> None:
        wanted = keys + residuals
        if self._options.memory == "accumulate":
            # Targets are sought from the present state: the weight W0 Q should see k as k + r,
            # which is W0 seeing Q (k + r).
            self._keys = torch.cat([self._keys, keys], dim=1)
            self._key_targets = torch.cat([self._key_targets, self._rotation @ wanted], dim=1)
            self._rotation = self._from_pairs()
            return
        step = procrustes(self._retained, keys, wanted)
        self._rotation = reorthonormalise(self._rotation @ step)

    def _from_pairs(self) -> Tensor:
        return procrustes(self._retained, self._keys, self._key_targets)

    def state(self) -> dict[str, Tensor]:
        if self._options.memory == "accumulate":
            return {"keys": self._keys.mT, "key_targets": self._key_targets.mT}
        return {"rotation": self._rotation}

    def load(self, state: Mapping[str, Tensor]) -> None:
        if self._options.memory == "accumulate":
            self._keys, self._key_targets = state["keys"].mT, state["key_targets"].mT
            self._rotation = self._from_pairs()
            return
        self._rotation = state["rotation"]

    def undo(self) -> Tensor:
        return self.weight @ self._rotation.mT
