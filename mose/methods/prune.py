"""PRUNE (Ma et al., ICLR 2025, arXiv 2405.16821): reduce large singular values of all edits.

After the whole sequence, with W_n - W_0 = U S V^T and s_0 the largest singular value of W_0,

    s <- log_a(s) - log_a(s_0) + s_0   where s > s_0,     W = W_0 + U S V^T

Each measurement applies it to W_n - W_0; the sequence itself continues from W_n.
Options: PruneOptions (`log_base` is a).
"""

import math

import torch
from torch import Tensor

from mose.methods.base import AdditiveEditor, WrappedEditor
from mose.methods.wrapper_options import PruneOptions


def reduce_spectrum(change: Tensor, largest: float, log_base: float) -> Tensor:
    """`change` (d_out, d_in) with singular values above `largest` reduced, float64."""
    u, s, vh = torch.linalg.svd(change.to(torch.float64), full_matrices=False)
    reduced = largest + (s / largest).log() / math.log(log_base)
    return (u * torch.where(s > largest, reduced, s)) @ vh


class PruneEditor(WrappedEditor):
    """Runs the base's sequence; `measured` is the pruned weight."""

    def __init__(self, base: AdditiveEditor, options: PruneOptions) -> None:
        super().__init__(base)
        self._unedited = base.weight.to(torch.float64)
        self._log_base = options.log_base

    @property
    def measured(self) -> Tensor:
        largest = float(torch.linalg.matrix_norm(self._unedited, 2))
        change = self.base.weight.to(torch.float64) - self._unedited
        return self._unedited + reduce_spectrum(change, largest, self._log_base)
