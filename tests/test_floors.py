"""The floors of docs/design.md, as the files import each other."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mose").rglob("*.py"))


def floors():
    """(floor, place in its row) of every room: a module, or a folder of modules."""
    text = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| (?:\d [a-z ]+|door) \| (.*?) \|", text, re.MULTILINE)
    return {
        name.rstrip("/"): (floor, place)
        for floor, row in enumerate(rows)
        for place, name in enumerate(re.findall(r"`([a-z_/]+)`", row))
    }


def room(module, known):
    """The room of a module like tasks/items: its own, or its folder's."""
    return module if module in known else module.split("/")[0]


def imported(path):
    """Modules of this package that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mose":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mose."):
            yield node.module.removeprefix("mose.").replace(".", "/")
            # "from mose.evaluation.tasks import items" is of that module, not of all of them.
            inner = ROOT / node.module.replace(".", "/")
            if inner.is_dir():
                folder = node.module.removeprefix("mose.")
                yield from (f"{folder}/{a.name}" for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "mose")))
def test_a_file_imports_only_what_is_below_it(path):
    known = floors()
    own = room(str(path.relative_to(ROOT / "mose").with_suffix("")), known)
    if own == "__init__":
        assert not list(imported(path))
        return
    assert own in known, "docs/design.md gives it no floor"
    for module in imported(path):
        other = room(module, known)
        assert other in known, f"{module} has no floor"
        assert other == own or known[other] < known[own], f"{own} imports {module} from above"


def test_the_table_names_nothing_that_is_not_there():
    for name in floors():
        assert (ROOT / "mose" / name).is_dir() or (ROOT / "mose" / f"{name}.py").is_file(), name
