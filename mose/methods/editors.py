"""The layer editor of a method and its options, as the register names it."""

from importlib import import_module
from typing import Any

from torch import Tensor

from mose.linalg.second_moment import SecondMoment
from mose.methods.base import (
    AdditiveEditor,
    ClosedFormEditor,
    Editor,
    GradientEditor,
    WrappedEditor,
)
from mose.methods.options import Variant, WrapperOptions
from mose.methods.register import METHODS

__all__ = [
    "AdditiveEditor",
    "ClosedFormEditor",
    "Editor",
    "GradientEditor",
    "WrappedEditor",
    "make_editor",
]


def make_editor(weight: Tensor, moment: SecondMoment | None, variant: Variant) -> Editor:
    """A fresh editor of one layer.

    weight: (d_out, d_in), unedited. moment: of its keys; None for methods that use none.
    """
    module, _, name = METHODS[variant.method].editor.partition(":")
    kind: Any = getattr(import_module(module), name)
    if isinstance(variant.options, WrapperOptions):
        return kind(make_editor(weight, moment, variant.options.base), variant.options)
    return kind(weight, moment, variant.options)
