"""RECT (Gu et al., EMNLP 2024, arXiv 2401.04700): keep the entries that change most, relatively.

Of a batch's Delta, the share `kept_share` of entries with the largest |Delta / W| is kept, W the
weight before the batch; the rest is zero. The deltas of all layers are computed first, each
from the whole deltas below it, and then masked, as in the public implementations (which keep
.2 or .4). Options: RectOptions.
"""

import math

import torch
from torch import Tensor

from mose.methods.base import AdditiveEditor, WrappedEditor
from mose.methods.options import RectOptions

# The authors' guard against entries of W that are zero.
EPS = 1e-8


def keep_largest(delta: Tensor, weight: Tensor, share: float) -> Tensor:
    """delta (d_out, d_in) with all but ceil(share d_out d_in) entries set to zero."""
    count = math.ceil(share * delta.numel())
    relative = (delta / (weight + EPS)).abs().flatten()
    kept = torch.zeros(delta.numel(), dtype=torch.bool)
    kept[relative.topk(count, sorted=False).indices] = True
    return torch.where(kept.view_as(delta), delta, torch.zeros_like(delta))


class RectEditor(WrappedEditor):
    """Masks a batch's change once all layers have theirs."""

    def __init__(self, base: AdditiveEditor, options: RectOptions) -> None:
        super().__init__(base)
        self._share = options.kept_share
        self._before: Tensor | None = None

    def update(self, keys: Tensor, residuals: Tensor, bare: Tensor | None = None) -> None:
        # A batch may be written in several updates (one request at a time); it is masked once.
        if self._before is None:
            self._before = self.base.weight
        super().update(keys, residuals, bare)

    def finish(self) -> bool:
        changed = super().finish()
        if self._before is None:
            return changed
        before = self._before.to(torch.float64)
        change = self.base.weight.to(torch.float64) - before
        self.base.put(before + keep_largest(change, before, self._share))
        self._before = None
        return True
