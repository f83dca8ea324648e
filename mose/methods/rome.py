"""ROME (Meng et al., NeurIPS 2022, arXiv 2202.05262) and R-ROME (Gupta et al., arXiv 2403.07175).

    Delta = r u^T / (k_p . u),  u = C^-1 k

one request at a time, r its residual, so that (W + Delta) k_p = v. In ROME k is the mean key over
context templates and k_p the key in the bare prompt; where they differ, k_p . u can be near zero
and the update arbitrarily large ("disabling edits"). R-ROME uses the mean key for both. Without
statistics (`second_moment: identity`) C = I.
Options: RomeOptions; clamp and weight decay are relative to the projection's output.
"""

from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import AdditiveEditor
from mose.methods.options import RomeOptions


def rome_delta(key: Tensor, residual: Tensor, moment: SecondMoment, at: Tensor) -> Tensor:
    """Delta (d_out, d_in) float64 with Delta at = residual.

    key: (d_in, 1), whitened by the second moment; at: (d_in, 1), the key whose value changes by
    residual (d_out, 1).
    """
    whitened = moment.solve(key)
    return residual @ whitened.mT / (at * whitened).sum()


class RomeEditor(AdditiveEditor):
    """ROME: whitens the mean key, writes the value at the bare prompt's key."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: RomeOptions) -> None:
        super().__init__(weight)
        self._moment = moment

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        if keys.shape[1] != 1:
            raise ValueError(f"ROME writes one request at a time, found {keys.shape[1]}")
        return rome_delta(keys, residuals, self._moment, prompt_keys)


class ConsistentRomeEditor(RomeEditor):
    """R-ROME: uses the mean key for both."""

    def delta(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor) -> Tensor:
        return super().delta(keys, residuals, keys)
