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


def make_editor(weight: Tensor, moment: SecondMoment | None, variant: Variant) -> LayerEditor:
    """A new editor of one layer, without edits.

    weight: (d_out, d_in), unedited, on any device. The editor keeps a copy in host memory, so the
    model's own weight may be passed and written to afterwards.
    moment: second moment of the layer's keys; None for methods that use none.
    Raises ConfigError when the method needs a second moment and `moment` is None.
    """
    module, _, name = METHODS[variant.method].editor.partition(":")
    kind: Any = getattr(import_module(module), name)
    if isinstance(variant.options, WrapperOptions):
        return kind(make_editor(weight, moment, variant.options.base), variant.options)
    if moment is None and isinstance(variant.options, TargetOptions):
        raise ConfigError(
            f"second moments: {variant.method} needs the one of this layer's keys and found none; "
            "pass it (moments.load), or moments.identity(d_in) for second_moment: identity"
        )
    # A fixed memory layout, so that weights from a file and from the model round alike.
    own = weight.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return kind(own, moment, variant.options)
