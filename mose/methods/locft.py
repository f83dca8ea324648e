"""LocFT-BF (arXiv 2509.22072, ICLR 2026): one layer, fine-tuned on all edits together.

Breadth first: `steps` rounds through all requests in a new order each, with a step of Adam for
every `minibatch` of them, instead of one batch of edits after another. With every batch of a
sequence the training begins again at the unedited weight, on all requests so far
(`TrainedOptions.ALL_SO_FAR`): the model holds what the authors' would, had these been all.

So it is no sequential method, but an oracle: earlier requests are trained again with later ones,
and the cost of n requests in batches of b grows as n^2 / b.

From the authors' code (ICT-STAR/LocFT, fine-tune.py and hparams/): the whole matrix of one
down_proj; Adam at 5e-4, mini-batches of 100, 25 rounds, an end below a mean loss of 0.01; mean NLL
per token of the object and the token that ends a text. Differences: a mini-batch with a loss below
0.01 takes a step as well; the order of a round is drawn by its number. Options: LocFTOptions.
"""

import torch
from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import GradientEditor
from mose.methods.trained_options import LocFTOptions


class LocFTEditor(GradientEditor):
    """The parameter is the edited weight (d_out, d_in) float32; training begins at the unedited."""

    def __init__(self, weight: Tensor, moment: SecondMoment | None, options: LocFTOptions) -> None:
        super().__init__(weight.to(torch.float32))
        self._unedited = self._kept

    @property
    def weight(self) -> Tensor:
        return self._kept

    def trainable(self) -> Tensor:
        self._training = self._unedited.clone().requires_grad_()
        return self._training

    def trained(self) -> Tensor:
        return self._training

    def constrain(self) -> None:
        """All weights are allowed."""
