"""The layer editor of a method and its options, as the register names it."""

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
    WrappedEditor,
)
from mose.methods.options import TargetOptions, Variant, WrapperOptions
from mose.methods.register import METHODS

__all__ = [
    "AdditiveEditor",
    "ClosedFormEditor",
    "GradientEditor",
    "LayerEditor",
    "WrappedEditor",
    "make_editor",
]


def make_editor(weight: Tensor, moment: SecondMoment | None, variant: Variant) -> LayerEditor:
    """A fresh editor of one layer.

    weight: (d_out, d_in), unedited, on any device. The editor gets a copy in the host's memory:
    the model's own weight may be passed, and may be written to afterwards.
    moment: of its keys; None for methods that use none.
    Raises ConfigError when the method needs a second moment and there is none.
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
    # One layout for all, so that a base read from a file rounds as one read from the model does.
    own = weight.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return kind(own, moment, variant.options)
