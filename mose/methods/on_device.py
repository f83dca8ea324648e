"""An editor whose linear algebra runs on a GPU, where float64 is 10 to 60 times as fast."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mose.methods.base import ClosedFormEditor, Rotations


class OnDevice(ClosedFormEditor):
    """`base`, whose tensors are on `device`, behind the contract of an editor on the host.

    Keys and residuals come from the host, and the state goes there; both are small beside the
    second moment, which stays. The weight stays as well: the model that it is written into is
    there.
    """

    def __init__(self, base: ClosedFormEditor, device: torch.device) -> None:
        self.base, self.device = base, device

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def measured(self) -> Tensor:
        return self.base.measured

    def update(self, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None) -> None:
        bare = None if prompt_keys is None else prompt_keys.to(self.device)
        self.base.update(keys.to(self.device), residuals.to(self.device), bare)

    def finish(self) -> bool:
        return self.base.finish()

    @property
    def rotations(self) -> Rotations | None:
        return self.base.rotations

    def undo(self) -> Tensor:
        return self.base.undo()

    def state(self) -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in self.base.state().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.base.load({name: tensor.to(self.device) for name, tensor in state.items()})
