"""A trained rotation of the input, as in the first code release of MOSE's authors.

    W = W_0 blockdiag(Q_1, ..., Q_r),  Q = (I - S)(I + S)^-1,  S = (G - G^T) / 2

Orthogonal fine-tuning (Qiu et al., NeurIPS 2023, arXiv 2306.07280) of the frozen W_0: Adam on the
generators G, which start at zero and carry over from request to request. So there is one rotation
of W_0, not a product, and nothing protects earlier edits. As in that code, each request is trained
alone by a new Adam optimiser for `steps` steps (20 or 25 there, no early stop), and each G is
projected onto a ball of radius ball b^2 / sqrt(r) for blocks of width b (COFT).
Options: TrainedRotationOptions.
"""

import math

import torch
from torch import Tensor

from mose.errors import ConfigError
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import GradientEditor, Rotations
from mose.methods.trained_options import TrainedRotationOptions


def cayley(generators: Tensor) -> Tensor:
    """Cayley transforms, orthogonal (r, b, b), of generators (r, b, b)."""
    skew = (generators - generators.mT) / 2
    eye = torch.eye(generators.shape[-1], dtype=generators.dtype)
    # (I - S) and (I + S)^-1 commute.
    return torch.linalg.solve(eye + skew, eye - skew)


class TrainedRotationEditor(GradientEditor):
    """The parameter is the generators (r, b, b) float32."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: TrainedRotationOptions
    ) -> None:
        blocks, width = options.blocks, weight.shape[1]
        if width % blocks:
            raise ConfigError(f"blocks: {blocks} does not divide the input's width {width}")
        size = width // blocks
        super().__init__(torch.zeros(blocks, size, size))
        self._base = weight.to(torch.float32)
        self._radius = options.ball * size**2 / math.sqrt(blocks)

    @property
    def rotation(self) -> Tensor:
        return torch.block_diag(*cayley(self._kept.to(torch.float64)))

    @property
    def rotations(self) -> Rotations:
        return Rotations(None, self.rotation.mT, self._base.to(torch.float64) @ self.rotation)

    @property
    def weight(self) -> Tensor:
        return self._apply(cayley(self._kept.to(torch.float64)))

    def _apply(self, rotations: Tensor) -> Tensor:
        """W_0 blockdiag(rotations)."""
        parts = self._base.to(rotations.dtype).view(len(self._base), len(rotations), -1)
        return torch.einsum("orb,rbc->orc", parts, rotations).reshape(self._base.shape)

    def trained(self) -> Tensor:
        return self._apply(cayley(self._training))

    @torch.no_grad()
    def constrain(self) -> None:
        norm = torch.linalg.matrix_norm(self._training).clamp(min=torch.finfo(torch.float32).tiny)
        self._training.mul_((self._radius / norm).clamp(max=1)[:, None, None])

    def undo(self) -> Tensor:
        return self.weight @ self.rotation.mT
