"""The editing methods: update rules on plain tensors, one file each, and their register."""

from collections.abc import Callable

from mose.methods.base import Editor
from mose.methods.memit import MemitEditor
from mose.methods.mose import InputRotation, OutputRotation, mose_editor

__all__ = ["EDITORS", "Editor", "InputRotation", "MemitEditor", "OutputRotation"]

# method name in a config -> what makes the editor of one layer
EDITORS: dict[str, Callable[..., Editor]] = {"mose": mose_editor, "memit": MemitEditor}
