"""Layer editors of methods, imported as the register names them."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from mose.errors import ConfigError
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import (
    AdditiveEditor,
    ClosedFormEditor,
    GradientEditor,
    LayerEditor,
    SignalEditor,
    WrappedEditor,
)
from mose.methods.on_device import OnDevice
from mose.methods.options import TargetOptions, Variant, WrapperOptions
from mose.methods.register import METHODS

__all__ = [
    "AdditiveEditor",
    "ClosedFormEditor",
    "GradientEditor",
    "LayerEditor",
    "SignalEditor",
    "WrappedEditor",
    "make_editor",
]


HOST = torch.device("cpu")


def make_editor(
    weight: Tensor, moment: SecondMoment | None, variant: Variant, device: torch.device = HOST
) -> LayerEditor:
    """A new editor of one layer, without edits.

    weight: (d_out, d_in), unedited, on any device. The editor keeps a copy, so the model's own
    weight may be passed and written to afterwards.
    moment: second moment of the layer's keys, on the host; None for methods that use none.
    device: where a closed-form method keeps its tensors and solves (`on_device`); others stay on
    the host. Raises ConfigError when the method needs a second moment and `moment` is None.
    """
    if device == HOST or not isinstance(variant.edit, TargetOptions):
        return _make_editor(weight, moment, variant, HOST)
    editor = _make_editor(weight, moment and moment.on(device), variant, device)
    assert isinstance(editor, ClosedFormEditor)
    return OnDevice(editor, device)


def _make_editor(
    weight: Tensor, moment: SecondMoment | None, variant: Variant, device: torch.device
) -> LayerEditor:
    """As make_editor; moment: on the device."""
    module, _, name = METHODS[variant.method].editor.partition(":")
    kind: Any = getattr(import_module(module), name)
    if isinstance(variant.options, WrapperOptions):
        return kind(_make_editor(weight, moment, variant.options.base, device), variant.options)
    if moment is None and isinstance(variant.options, TargetOptions):
        raise ConfigError(
            f"second moments: {variant.method} needs the one of this layer's keys and found none; "
            "pass it (moments.load), or moments.identity(d_in) for second_moment: identity"
        )
    # A fixed memory layout, so that weights from a file and from the model round alike.
    own = weight.detach().to(device, copy=True, memory_format=torch.contiguous_format)
    return kind(own, moment, variant.options)
