"""The contract of a closed-form method: an editor of one edited projection."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor


class Editor(ABC):
    """Holds one layer's weight through a sequence of updates.

    An editor sees tensors only: no model, no tokenizer, no request. Its state is the cheapest set
    of arrays that gives the edited weight back exactly, together with whatever memory the next
    update needs.
    """

    @property
    @abstractmethod
    def weight(self) -> Tensor:
        """The edited W (d_out, d_in), float64 or float32."""

    @abstractmethod
    def update(self, keys: Tensor, residuals: Tensor) -> None:
        """Write one batch.

        keys: (d_in, n) float64, as the unchanged lower part of the model gives them.
        residuals: what is to be added for these keys: to the value, (d_out, n), or, for editors
        that rotate the input, to the key, (d_in, n).
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The arrays to store."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over arrays that `state` gave, in an editor made with the same arguments."""

    @property
    def rotation(self) -> Tensor | None:
        """The orthogonal matrix that the base weight was multiplied by, if there is one."""
        return None

    def undo(self) -> Tensor:
        """The unedited weight, computed from the edited one.

        Raises NotImplementedError for methods that keep no way back.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be undone from its state")
