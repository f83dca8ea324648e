"""Which code and data of the package a result depends on, with digests of their contents.

A result depends on the file whose function computes it and on every file of the library that this
one imports, but for CARRIERS. What counts of a file is its code: neither comments, nor docstrings,
nor layout, nor the descriptions of pydantic fields. The digest is of the code as `ast.unparse`
writes it: `ast.dump` writes the same code in another way in almost every version of Python.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mose.storage.files import sha256_of_file

# Files that only hold, move or report what others compute.
CARRIERS = frozenset(
    (
        *("errors", "progress", "storage/files", "storage/hdf5", "storage/hub"),
        *("storage/symmetric", "methods/plugins", "methods/register"),
    )
)
DIGITS = 12


def defining(names: Iterable[str], root: Path) -> list[str]:
    """The files that results of some files of the library depend on, themselves among them.

    names: relative to `root`, the folder that holds the package, as "mose/evaluation/stability.py",
    or absolute, of another package. Sorted. Of the packages' __init__.py those that hold code.
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
    """`defining`, each file with the beginning of the digest of its code."""
    return [
        f"{label_of(name)} {_digest_of_code(name, root)[:DIGITS]}" for name in defining(names, root)
    ]


def data_digests(names: Iterable[str], root: Path) -> list[str]:
    """Files of data, each with the beginning of the digest of its contents. names: as above."""
    return [f"{name} {sha256_of_file(root / name)[:DIGITS]}" for name in names]


def label_of(path: str) -> str:
    """A file as a parameter names it: of another package without the folder it is installed in."""
    return path if not Path(path).is_absolute() else "/".join(Path(path).parts[-2:])


@cache
def imported_files(name: str, root: Path) -> frozenset[str]:
    """Files of the library that a file imports, wherever it does, but for CARRIERS.

    name: relative to `root`, also of a file outside the library. With "mose/a/b.py" go the
    __init__.py of mose and of mose/a, which Python runs first.
    """
    modules: set[str] = set()
    for node in ast.walk(_code(name, root)):
        if isinstance(node, ast.ImportFrom) and node.module:
            # Of "from mose.evaluation.tasks import items" either may be the module.
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    files: set[str] = set()
    for module in modules:
        parts = module.split(".")
        if parts[0] == "mose" and "/".join(parts[1:]) not in CARRIERS:
            files.add(f"{'/'.join(parts)}.py")
            files |= {f"{'/'.join(parts[:end])}/__init__.py" for end in range(1, len(parts) + 1)}
    return frozenset(path for path in files if (root / path).is_file())


def _counts(name: str, root: Path) -> bool:
    return not name.endswith("/__init__.py") or bool(_code(name, root).body)


@cache
def _digest_of_code(name: str, root: Path) -> str:
    """SHA-256 of a file's code."""
    return hashlib.sha256(ast.unparse(_code(name, root)).encode()).hexdigest()


@cache
def _code(name: str, root: Path) -> ast.Module:
    """A file's code, without its words."""
    tree = ast.parse((root / name).read_text(encoding="utf-8"))
    return _WithoutWords().visit(tree)


class _WithoutWords(ast.NodeTransformer):
    """Takes out docstrings, other bare strings, and the descriptions of pydantic fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if ast.unparse(node.func).split(".")[-1] == "Field":
            node.keywords = [word for word in node.keywords if word.arg != "description"]
        return self.generic_visit(node)
