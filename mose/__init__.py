"""MOSE: sequential knowledge editing in language models, and the measurement of what it does.

`Editor` is the library's front door (docs/library.md); docs/design.md lists the packages. Importing
this one imports nothing else: what it names is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mose.editing.patches import apply_patch as apply_patch
    from mose.editing.patches import remove_patch as remove_patch
    from mose.editor import Editor as Editor
    from mose.tuning import tune as tune

__version__ = "0.1.0"
__all__ = ["Editor", "__version__", "apply_patch", "remove_patch", "tune"]

_PLACES = {
    "Editor": "mose.editor",
    "apply_patch": "mose.editing.patches",
    "remove_patch": "mose.editing.patches",
    "tune": "mose.tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
