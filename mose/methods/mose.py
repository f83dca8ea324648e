"""MOSE: multiplicative orthogonal sequential editing (AAAI 2026, arXiv 2601.07873).

Published form (side output, free targets, no memory): W <- R W with

    R = argmin over orthogonal R of  lambda E||R W k - W k||^2 + ||R W K - V||_F^2
      = polar(lambda W C W^T + V (W K)^T)

so that norm, singular values and condition number of W cannot change.

The other forms are proposals of this project (docs/methods.md): rotating both sides, W <- R W Q
(`mose.methods.two_sided`); rotating the input side, W <- W Q with Q = polar(lambda C + K* K^T),
where K* holds the wanted keys; and accumulating one matrix M over all edits so far instead of
multiplying rotations.

One-sided forms are solved in the frame of the unedited W0. With W = R W0, the step of a batch is
R_t = R_(t-1) P with P = polar(lambda W0 C W0^T + (R_(t-1)^T V) (W0 K)^T), since a rotation of both
sides of a matrix rotates its polar factor. So the retained term is constant and decomposed once.
"""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from mose.linalg.low_rank_polar import RotationSolver
from mose.linalg.orthogonal import reorthonormalise
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor, LayerEditor, Rotations
from mose.methods.rotation_options import MoseOptions
from mose.methods.two_sided import TwoSidedRotation


def mose_editor(weight: Tensor, moment: SecondMoment, options: MoseOptions) -> LayerEditor:
    """The editor of one layer for `options.side`; weight: (d_out, d_in), unedited."""
    kinds = {"output": OutputRotation, "input": InputRotation, "both": TwoSidedRotation}
    return kinds[options.side](weight, moment, options)


class _Rotation(ClosedFormEditor):
    """An orthogonal matrix (d, d) applied to one side of the unedited weight.

    memory none: the product of one rotation per batch; the state is that product.
    memory accumulate: the polar factor of lambda H + T S^T over all edits so far. The state is the
    pairs S, T (n x d each), from which the rotation is recomputed when needed, and the weight, so
    that reading a checkpoint needs no decomposition.
    """

    def __init__(self, base: Tensor, size: int, moment: SecondMoment, options: MoseOptions) -> None:
        self._base = base
        self._moment: SecondMoment | None = moment
        self._retention_weight = options.retention_weight
        self._accumulate = options.memory == "accumulate"
        self._rotation: Tensor | None = torch.eye(size, dtype=torch.float64, device=base.device)
        self._weight: Tensor | None = base
        self._source = base.new_empty(size, 0)
        self._target = base.new_empty(size, 0)

    @cached_property
    def _problem(self) -> RotationSolver:
        # Reading a checkpoint does not need it. The second moment is large and not used again, so
        # it is released.
        moment, self._moment = self._moment, None
        assert moment is not None
        return RotationSolver(self._retention_weight * self._retained(moment.matrix))

    @abstractmethod
    def _retained(self, moment: Tensor) -> Tensor:
        """H (d, d): second moment of the rotated vectors; moment: that of the keys (d_in, d_in)."""

    @abstractmethod
    def _rotated_weight(self) -> Tensor:
        """The rotated base weight (d_out, d_in)."""

    @property
    def rotation(self) -> Tensor:
        if self._rotation is None:
            self._rotation = self._problem.solve(self._source, self._target)
        return self._rotation

    @property
    def weight(self) -> Tensor:
        if self._weight is None:
            self._weight = self._rotated_weight()
        return self._weight

    def _add_pairs(self, source: Tensor, target: Tensor) -> None:
        """Update the rotation so that it maps source to target, both (d, n)."""
        if self._accumulate:
            self._source = torch.cat([self._source, source], dim=1)
            self._target = torch.cat([self._target, target], dim=1)
            self._rotation = None
        else:
            step = self._problem.solve(source, self.rotation.mT @ target)
            self._rotation = reorthonormalise(self.rotation @ step)
        self._weight = None

    def state(self) -> dict[str, Tensor]:
        if self._accumulate:
            pairs = {"source": self._source.mT, "target": self._target.mT}
            return {**pairs, "weight": self.weight}
        return {"rotation": self.rotation}

    def load(self, state: Mapping[str, Tensor]) -> None:
        if self._accumulate:
            self._source, self._target = state["source"].mT.clone(), state["target"].mT.clone()
            self._rotation, self._weight = None, state["weight"].clone()
        else:
            self._rotation, self._weight = state["rotation"].clone(), None


class OutputRotation(_Rotation):
    """W = R W0, R (d_out, d_out); H = W0 C W0^T; R maps values W0 k to v."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MoseOptions) -> None:
        super().__init__(weight.to(torch.float64), weight.shape[0], moment, options)

    def _retained(self, moment: Tensor) -> Tensor:
        return self._base @ moment @ self._base.mT

    def _rotated_weight(self) -> Tensor:
        return self.rotation @ self._base

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        values = self._base @ keys
        self._add_pairs(values, self.rotation @ values + residuals)

    @property
    def rotations(self) -> Rotations:
        return Rotations(self.rotation, None, self._rotated_weight())

    def undo(self) -> Tensor:
        return self.rotation.mT @ self.weight


class InputRotation(_Rotation):
    """W = W0 Q, Q (d_in, d_in); H = C; Q maps keys k to k*."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: MoseOptions) -> None:
        super().__init__(weight.to(torch.float64), weight.shape[1], moment, options)

    def _retained(self, moment: Tensor) -> Tensor:
        return moment

    def _rotated_weight(self) -> Tensor:
        return self._base @ self.rotation

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        # Residuals refer to the current weight W0 Q: it should map k as it now maps k + r, so the
        # new Q must map k to Q (k + r).
        self._add_pairs(keys, self.rotation @ (keys + residuals))

    @property
    def rotations(self) -> Rotations:
        return Rotations(None, self.rotation.mT, self._rotated_weight())

    def undo(self) -> Tensor:
        return self.weight @ self.rotation.mT
