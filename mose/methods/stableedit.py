"""StableEdit (arXiv 2605.11836, ICML 2026): UltraEdit with whitened gradients and a warm-up.

The update is UltraEdit's (`ultraedit`), but for the normalised gradients. With S (d_out, d_out) the
sum of (g - mean) (g - mean)^T over the n places of all layers and batches so far,

    g' = C^(-1/2) (g - mean),    C = S / (n - d_out - 1), eigenvalues raised to 1e-6 at least

Keys stay normalised entry by entry, and so do gradients in the first `warm_up` batches and while
n <= d_out + 1. Without whitening, an update is UltraEdit's.

From the authors' code (MINE-USTC/StableEdit, nets.py and editor/base.py): divisor, bound and the
condition on n; ridge 10 and 20 turns of warm-up are those of its README. Its warm-up edits 20 turns
of other facts, of the training set, before the first edit that counts. Here the first batches of
the sequence itself are the warm-up: no method has other facts.

Options: StableEditOptions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.signal_options import StableEditOptions
from mose.methods.ultraedit import UltraEditEditor

# The authors': smallest eigenvalue of C.
SMALLEST = 1e-6


def inverse_root(covariance: Tensor) -> Tensor:
    """C^(-1/2) of a symmetric C (d, d), its eigenvalues raised to SMALLEST at least."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=SMALLEST).rsqrt()) @ vectors.mT


class StableEditEditor(UltraEditEditor):
    """The state is UltraEdit's, the gradients' S (d_out, d_out), and the number of batches."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: StableEditOptions
    ) -> None:
        super().__init__(weight, moment, options)
        self._warm_up = options.warm_up
        self._scatter = torch.zeros(len(weight), len(weight), dtype=torch.float64)
        self._batches = torch.zeros(1, dtype=torch.float64)

    def observe(self, keys: Tensor, gradients: Tensor) -> None:
        before = self._centred(gradients)
        super().observe(keys, gradients)
        # Welford's rule: the sum of (g - old mean) (g - new mean)^T is what S grows by.
        self._scatter = self._scatter + before @ self._centred(gradients).mT

    def normalised(self, keys: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        key, gradient = super().normalised(keys, gradients)
        freedom = float(self._moments.count) - len(gradients) - 1
        if freedom > 0 and float(self._batches) >= self._warm_up:
            gradient = inverse_root(self._scatter / freedom) @ self._centred(gradients)
        return key, gradient

    def update(self, keys: Tensor, gradients: Tensor) -> None:
        super().update(keys, gradients)
        self._batches = self._batches + 1

    def _centred(self, gradients: Tensor) -> Tensor:
        """gradients less their mean so far, (d_out, m)."""
        return gradients - self._moments.mean[-len(gradients) :, None]

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "scatter": self._scatter, "batches": self._batches}

    def load(self, state: Mapping[str, Tensor]) -> None:
        super().load(state)
        self._scatter = state["scatter"].clone()
        self._batches = state["batches"].clone()
