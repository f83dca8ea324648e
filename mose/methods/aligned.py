"""RECT and PRUNE that carry along what they took away (Wang et al., ICML 2026, arXiv 2605.26670).

RECT and PRUNE write less than their base's Delta. In a sequence the base takes what they left out
for written. Aligned, the error goes into the next batch's problem. With memory,

    C_t = lambda C + mu I + K_p K_p^T + K K^T
    Delta_t = (R_t K_t^T - E_(t-1)) C_t^-1,    W_t = W_(t-1) + REG(Delta_t)
    E_t = (REG(Delta_t) - Delta_t) C_t

(mu = 1 in the authors' code). Nothing of E_t's form is computed here. Let W*_t be what the base
would hold if nothing had ever been left out. From C_t = C_(t-1) + K_t K_t^T follows, by induction,

    E_t = (W_t - W*_t) C_t,    W_(t-1) + Delta_t = W*_t

so Delta_t is the whole way from the weight as written to the base's own solution for all edits so
far. The base runs beside, with residuals V_t - W*_(t-1) K_t = R_t + (W_(t-1) - W*_(t-1)) K_t.
As in RECT, all layers' Deltas are computed before the first is reduced.
Options: AlignedRectOptions, AlignedPruneOptions.
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mose.methods.base import AdditiveEditor, WrappedEditor
from mose.methods.prune import reduce_spectrum
from mose.methods.rect import keep_largest
from mose.methods.wrapper_options import AlignedPruneOptions, AlignedRectOptions


class AlignedEditor(WrappedEditor):
    """Reduces the way from the written weight W to the base's solution W*, batch by batch.

    The state is the base's, and W ("written"). While a batch is being written the weight is W*, so
    that deeper layers' keys and residuals do not depend on the reduction.
    """

    def __init__(self, base: AdditiveEditor) -> None:
        super().__init__(base)
        self._written = base.weight
        self._unfinished = False

    @abstractmethod
    def reduce(self, change: Tensor, before: Tensor) -> Tensor:
        """REG(change); before: the earlier weight. All are (d_out, d_in) float64."""

    @property
    def weight(self) -> Tensor:
        return self.base.weight if self._unfinished else self._written

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        behind = self.weight.to(torch.float64) - self.base.weight.to(torch.float64)
        self.base.update(keys, residuals + behind @ keys, prompt_keys)
        self._unfinished = True

    def finish(self) -> bool:
        changed = self.base.finish()
        if not self._unfinished:
            return changed
        before = self._written.to(torch.float64)
        change = self.base.weight.to(torch.float64) - before
        self._written = (before + self.reduce(change, before)).to(torch.float32)
        self._unfinished = False
        return True

    def state(self) -> dict[str, Tensor]:
        return {**self.base.state(), "written": self.weight}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.base.load({name: array for name, array in state.items() if name != "written"})
        self._written = state["written"].to(torch.float32, copy=True)
        self._unfinished = False


class AlignedRectEditor(AlignedEditor):
    """REG keeps the entries that change most relatively, as RECT."""

    def __init__(self, base: AdditiveEditor, options: AlignedRectOptions) -> None:
        super().__init__(base)
        self._share = options.kept_share

    def reduce(self, change: Tensor, before: Tensor) -> Tensor:
        return keep_largest(change, before, self._share)


class AlignedPruneEditor(AlignedEditor):
    """REG reduces singular values above the largest one of the earlier weight, as PRUNE does with
    the change of a whole sequence."""

    def __init__(self, base: AdditiveEditor, options: AlignedPruneOptions) -> None:
        super().__init__(base)
        self._log_base = options.log_base

    def reduce(self, change: Tensor, before: Tensor) -> Tensor:
        largest = float(torch.linalg.matrix_norm(before, 2))
        return reduce_spectrum(change, largest, self._log_base)
