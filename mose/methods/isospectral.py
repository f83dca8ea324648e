"""An additive method held on the unedited spectrum. A proposal of this project.

After each update of the base, W is replaced by the nearest matrix, in Frobenius norm, that has the
singular values of W_0: with W = U S V^T, by U diag(s_0) V^T (Mirsky 1960). So W = R W_0 Q with
orthogonal R and Q, as for two-sided MOSE, whatever the base: norm and condition number are W_0's up
to the rounding of float32. Each layer is projected before the next is computed, so that deeper
layers write what the projection takes away.
Options: IsospectralOptions.
"""

import torch
from torch import Tensor

from mose.linalg.isospectral import check_rank, nearest
from mose.methods.base import AdditiveEditor, WrappedEditor
from mose.methods.wrapper_options import IsospectralOptions


class IsospectralEditor(WrappedEditor):
    """Projects the weight on the unedited spectrum after each update of its base."""

    def __init__(self, base: AdditiveEditor, options: IsospectralOptions) -> None:
        """Raises NumericalError for an unedited weight that lacks rank."""
        super().__init__(base)
        self._values = torch.linalg.svdvals(base.weight.to(torch.float64))
        check_rank(self._values)

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        super().update(keys, residuals, prompt_keys)
        projected = nearest(self.base.weight.to(torch.float64), self._values)
        self.base.put(projected.polished().matrix)
