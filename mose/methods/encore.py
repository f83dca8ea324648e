"""ENCORE (Gupta et al. 2025, arXiv 2502.01636): MEMIT with memory and a bound on the norm.

    Delta = argmin lambda tr(Delta C Delta^T) + mu ||Delta||_F^2 + ||Delta Z - T||_F^2

with Z = [K_p, K] and T = [0, R] as in MEMIT with memory: MEMIT with C + (mu / lambda) I for C.
Targets stop early: `patience` steps after the new object is the most probable in all templates.
Options: EncoreOptions (`norm_weight` is mu).
"""

from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.memit import MemitEditor
from mose.methods.options import EncoreOptions


class EncoreEditor(MemitEditor):
    """MEMIT with C + (mu / lambda) I for C."""

    def __init__(self, weight: Tensor, moment: SecondMoment, options: EncoreOptions) -> None:
        share = options.norm_weight / options.retention_weight

        def regularised() -> Tensor:
            matrix = moment.matrix.clone()
            matrix.diagonal().add_(share)
            return matrix

        super().__init__(weight, SecondMoment(regularised, moment.where), options)
