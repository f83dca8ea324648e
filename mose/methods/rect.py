"""RECT (Gu et al., EMNLP 2024, arXiv 2401.04700): keep the largest relative changes.

Of a batch's Delta, the share `kept_share` of entries with the largest |Delta / W| is kept, W the
weight before the batch; the rest is zero. All layers' deltas are computed first, each with the
unmasked deltas below it, then masked, as in the public implementations (which keep .2 or .4).
Options: RectOptions.
"""

import math

import torch
from torch import Tensor

from mose.methods.base import AdditiveEditor, DeferredWrapper
from mose.methods.wrapper_options import RectOptions

# Avoids division by zero entries of W, as in the authors' code.
EPS = 1e-8


def keep_largest(delta: Tensor, weight: Tensor, share: float) -> Tensor:
    """delta (d_out, d_in) with all but ceil(share d_out d_in) entries set to zero."""
    count = math.ceil(share * delta.numel())
    relative = (delta / (weight + EPS)).abs().flatten()
    kept = delta.new_zeros(delta.numel(), dtype=torch.bool)
    kept[relative.topk(count, sorted=False).indices] = True
    return torch.where(kept.view_as(delta), delta, torch.zeros_like(delta))


class RectEditor(DeferredWrapper):
    """Masks a batch's change after all layers are updated."""

    def __init__(self, base: AdditiveEditor, options: RectOptions) -> None:
        super().__init__(base)
        self._share = options.kept_share

    def reshape(self, change: Tensor, before: Tensor) -> Tensor:
        return keep_largest(change, before, self._share)
