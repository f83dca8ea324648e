"""The editor of the in-context row (`mose.editing.in_context`): the weight stays as it is."""

from collections.abc import Mapping

from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import LayerEditor
from mose.methods.context_options import InContextOptions


class UneditedEditor(LayerEditor):
    """Holds the unedited weight; its state is empty."""

    def __init__(
        self, weight: Tensor, moment: SecondMoment | None, options: InContextOptions
    ) -> None:
        self._weight = weight

    @property
    def weight(self) -> Tensor:
        return self._weight

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """There is nothing to load."""
