"""Code and data of the package that a result depends on, with digests of their contents.

A result depends on the file that computes it and on all files of the library that this one imports,
directly or not, except CARRIERS. A file's digest covers its code: not comments, docstrings, layout
or descriptions of pydantic fields. The code is written by `ast.unparse`: the output of `ast.dump`
differs between versions of Python.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mose.storage.files import sha256_of_file

# Files that only store, move or report results.
CARRIERS = frozenset(
    (
        *("errors", "progress", "storage/files", "storage/hdf5", "storage/hub"),
        *("storage/symmetric", "methods/plugins", "methods/register"),
    )
)
DIGITS = 12


def defining(names: Iterable[str], root: Path) -> list[str]:
    """The files that results of the named files depend on, these included; sorted.

    names: relative to `root`, the folder of the package, as "mose/evaluation/stability.py"; or
    absolute, of another package. An __init__.py counts only if it holds code; mose/__init__.py,
    which only names the library's front door, never does.
    """
    reached: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(imported_files(name, root))
    return sorted(name for name in reached if _counts(name, root))


def code_digests(names: Iterable[str], root: Path) -> list[str]:
    """`defining`, each file with the first DIGITS of its code's digest."""
    return [
        f"{label_of(name)} {_digest_of_code(name, root)[:DIGITS]}" for name in defining(names, root)
    ]


def data_digests(names: Iterable[str], root: Path) -> list[str]:
    """Data files, each with the first DIGITS of its digest. names: relative to `root`."""
    return [f"{name} {sha256_of_file(root / name)[:DIGITS]}" for name in names]


def label_of(path: str) -> str:
    """A file's name in a rule's parameter: of another package, only its last folder and name."""
    return path if not Path(path).is_absolute() else "/".join(Path(path).parts[-2:])


@cache
def imported_files(name: str, root: Path) -> frozenset[str]:
    """Files of the library that a file imports, on top or in functions, except CARRIERS.

    name: relative to `root`, or absolute. "mose/a/b.py" brings the __init__.py of mose and of
    mose/a, which Python runs first.
    """
    modules: set[str] = set()
    for node in ast.walk(_code(name, root)):
        if isinstance(node, ast.ImportFrom) and node.module:
            # In "from mose.evaluation.tasks import items", either name may be the module.
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    files: set[str] = set()
    for module in modules:
        parts = module.split(".")
        if parts[0] == "mose" and "/".join(parts[1:]) not in CARRIERS:
            files.add(f"{'/'.join(parts)}.py")
            files |= {f"{'/'.join(parts[:end])}/__init__.py" for end in range(1, len(parts) + 1)}
    files.discard("mose/__init__.py")
    return frozenset(path for path in files if (root / path).is_file())


def _counts(name: str, root: Path) -> bool:
    return not name.endswith("/__init__.py") or bool(_code(name, root).body)


@cache
def _digest_of_code(name: str, root: Path) -> str:
    """SHA-256 of a file's code."""
    return hashlib.sha256(ast.unparse(_code(name, root)).encode()).hexdigest()


@cache
def _code(name: str, root: Path) -> ast.Module:
    """A file's code without docstrings and descriptions."""
    tree = ast.parse((root / name).read_text(encoding="utf-8"))
    return _WithoutDocumentation().visit(tree)


class _WithoutDocumentation(ast.NodeTransformer):
    """Removes docstrings, other strings that are statements, and descriptions of fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func).split(".")[-1] == "Field":
            node.keywords = [one for one in node.keywords if one.arg != "description"]
        return self.generic_visit(node)
