"""The packages of the library, as the files import each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "mose").rglob("*.py"))
# A package imports from itself and from what stands before it.
PACKAGES = (
    "errors", "progress", "validation", "storage", "linalg", "facts", "models", "statistics",
    "methods", "editing", "evaluation", "report", "experiment", "tuning", "editor", "cli",
)  # fmt: skip
# The plan of a workflow, tables and figures are made without these.
HEAVY = ("torch", "transformers", "datasets")
LIGHT_PACKAGES = ("report", "experiment")
MOST_LINES = 400


def imports_of(path: Path) -> set[str]:
    """Dotted names of what a file imports, wherever it does, as modules of this library."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mose":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if file_of(inner) else node.module)
    return names


def file_of(name: str) -> Path | None:
    """The file of a module or package of this library, if there is one."""
    path = ROOT / name.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_imports_only_from_its_own_package_and_those_before_it(path):
    if path == ROOT / "mose" / "__init__.py":
        return
    own = name_of(path).split(".")[1]
    before = PACKAGES[: PACKAGES.index(own) + 1]
    for name in imports_of(path):
        assert name.split(".")[1] in before, f"{name_of(path)} imports {name}"


def test_every_package_has_its_place():
    assert {name_of(path).split(".")[1] for path in FILES if path.parent != ROOT / "mose"} <= {
        *PACKAGES
    }
    assert all(file_of(f"mose.{name}") for name in PACKAGES)


def test_no_two_files_import_each_other_by_any_way():
    graph = {name_of(path): imports_of(path) for path in FILES}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join([*way, name])}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "scripts").glob("*.py"))], ids=str)
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def reached_from(name: str) -> set[str]:
    """All modules of this library that importing one imports, at the top of files."""
    found: set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        path = file_of(current)
        if path is None or current in found:
            continue
        found.add(current)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mose"):
                todo += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def test_no_method_knows_a_tokenizer_a_model_or_a_request_on_any_way():
    allowed = {"errors", "validation", "storage", "linalg", "methods"}
    for path in sorted((ROOT / "mose" / "methods").glob("*.py")):
        packages = {name.split(".")[1] for name in reached_from(name_of(path)) if "." in name}
        assert packages <= allowed, f"{name_of(path)} reaches {packages - allowed}"


def test_what_loads_no_model_waits_for_no_transformers():
    # It would take most of the time of these programs: stability.py, add_moments.py.
    loaded = "import sys, mose.evaluation.stability, mose.editing.chain; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert "mose.statistics.second_moments" in modules
    assert not {"transformers", "pandas", "matplotlib"} & set(modules)


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_planning_and_reports_import_nothing_heavy(package):
    for path in sorted((ROOT / "mose" / package).rglob("*.py")):
        for name in reached_from(name_of(path)):
            source = file_of(name)
            for node in ast.parse(source.read_text()).body:
                heads = (
                    [alias.name.split(".")[0] for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [(node.module or "").split(".")[0]]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                assert not set(heads) & set(HEAVY), f"{name_of(path)}: {name} imports {heads}"
