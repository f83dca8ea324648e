"""A truncated pass that is repeated while weights change: only from the first changed block on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mose.models.causal_lm import CausalLM, Trace
from mose.models.hooks import hidden_of, hooked, keep_call, keep_input


class RepeatedPass:
    """`CausalLM.truncated` on the same rows, again and again, to the last bit the same.

    Each run keeps the input of one block. The next one starts there, unless an edited projection
    below was written in between. Only edited projections may change; whatever else does goes
    unseen.
    """

    def __init__(self, lm: CausalLM, ids: Tensor, mask: Tensor) -> None:
        """ids, mask: (B, T), as of `CausalLM.truncated`."""
        self._lm, self._ids, self._mask = lm, ids, mask
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._kept: tuple[int, Tensor] | None = None
        self._below: list[int] = []

    @torch.no_grad()
    def run(self, layers: Sequence[int], keep: int | None = None) -> Trace:
        """What `CausalLM.truncated` returns in the present model.

        keep: block whose input is kept: the first that will be written before the next run; None:
        the lowest of `layers`. Raises ConfigError for layers out of range.
        """
        self._lm.check_layers(layers, "layers")
        keep = min(layers) if keep is None else keep
        if self._kept is None or max(layers) >= len(self._calls) or self._stale():
            return self._whole(layers, keep)
        return self._rest(*self._kept, layers, keep)

    def _stale(self) -> bool:
        """Whether a projection below the kept input was written since."""
        return self._below != self._versions(len(self._below))

    def _versions(self, count: int) -> list[int]:
        """How often the edited projections of the first `count` blocks were written in place."""
        return [self._lm.weight(layer)._version for layer in range(count)]

    def _keep(self, block: int, hidden: Tensor) -> None:
        self._kept, self._below = (block, hidden), self._versions(block)

    def _whole(self, layers: Sequence[int], keep: int) -> Trace:
        """A pass from the first block, which records how each block is called."""
        self._calls = []
        hidden: list[Tensor] = []
        hooks = [
            block.register_forward_pre_hook(keep_call(self._calls, hidden), with_kwargs=True)
            for block in self._lm.blocks[: max(layers) + 1]
        ]
        with hooked(hooks):
            trace = self._lm.truncated(self._ids, self._mask, layers)
        self._keep(keep, hidden[keep])
        return trace

    def _rest(self, start: int, hidden: Tensor, layers: Sequence[int], keep: int) -> Trace:
        """The blocks from `start` on, whose input is `hidden`."""
        lm = self._lm
        inputs: dict[int, Tensor] = {}
        hooks = [
            lm.projection(layer).register_forward_pre_hook(
                keep_input(inputs, layer, self._ids.shape, lm.device)
            )
            for layer in layers
        ]
        with hooked(hooks):
            for number in range(start, max(layers) + 1):
                if number == keep:
                    self._keep(keep, hidden)
                args, kwargs = self._calls[number]
                hidden = hidden_of(lm.blocks[number](hidden, *args, **kwargs))
        return Trace(inputs, hidden.to(lm.device))
