"""Hooks on a model's modules: what a partial pass keeps, and where it ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class PassComplete(Exception):
    """Ends a forward pass after the last block that is needed."""


def hidden_of(output: Any) -> Tensor:
    """The hidden state that a block returns, alone or with more."""
    return output[0] if isinstance(output, tuple) else output


def keep_input(
    into: dict[int, Tensor], layer: int, shape: torch.Size, device: torch.device
) -> Callable[..., None]:
    """A hook that keeps a module's input, reshaped to (*shape, width), under `layer`."""

    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        # OPT runs its MLP on (B T, d).
        into[layer] = args[0].reshape(*shape, -1).to(device)

    return hook


def keep_call(
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]], hidden: list[Tensor]
) -> Callable[..., None]:
    """A hook before a block: appends its hidden state to `hidden`, all other arguments to `calls`.

    Register it with_kwargs."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kwargs = dict(kwargs)
        hidden.append(args[0] if args else kwargs.pop("hidden_states"))
        calls.append((args[1:], kwargs))

    return hook


@contextmanager
def hooked(hooks: Sequence[Any]) -> Iterator[None]:
    """Remove hooks at the end of the context."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
