"""Which of the library's files a result is computed by.

A result depends on the file that computes it and on all that this one imports, but for what only
holds, moves or reports things: a change of those changes no number, and would make everything
again.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

CARRIERS = frozenset(
    (
        *("errors", "progress", "storage/files", "storage/hdf5", "storage/hub"),
        *("storage/symmetric", "facts/requests", "models/causal_lm", "methods/options"),
        *("methods/plugins", "methods/register", "validation/refusals", "validation/strict"),
    )
)


def defining(paths: Iterable[str], root: Path) -> list[str]:
    """The files that results of some files of the library depend on, themselves among them.

    paths: relative to `root`, the folder of the library, as "mose/evaluation/stability.py", or
    absolute, of another package. Sorted.
    """
    found: set[str] = set()
    todo = list(paths)
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo.extend(_imported(path, root))
    return sorted(found)


def label_of(path: str) -> str:
    """A file as a parameter names it: of another package without the folder it is installed in."""
    return path if not Path(path).is_absolute() else "/".join(Path(path).parts[-2:])


@cache
def _imported(path: str, root: Path) -> frozenset[str]:
    """Modules of the library that a file imports, wherever it does, but for CARRIERS."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            # Of "from mose.evaluation.tasks import items" either may be the module.
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    modules = {name.split(".", 1)[1].replace(".", "/") for name in names if name[:5] == "mose."}
    inside = {f"mose/{module}.py" for module in modules - CARRIERS}
    return frozenset(path for path in inside if (root / path).is_file())
