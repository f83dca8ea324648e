"""The package as others get it: what importing costs, what the extras are for, and the wheel."""

import ast
import json
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import tiny
import yaml
from packages import OFFLINE, PIP, run
from project import CONFIG, METHODS

import mose
from mose.cli import workflow
from mose.errors import ExtraMissing, StoreError
from mose.experiment import locations

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Not needed by whoever uses the library alone, by the name that they are imported by.
EXTRAS = (
    *("snakemake", "matplotlib", "datasets", "gguf", "accelerate", "jsonschema", "pyarrow"),
    *("lm_eval", "pytest", "hypothesis", "scipy", "sklearn"),
)
LIBRARY = (
    *(
        "errors",
        "progress",
        "validation",
        "storage",
        "linalg",
        "facts",
        "models",
        "statistics",
        "methods",
    ),
    *("editing", "evaluation", "tuning", "editor"),
)
# Names of distributions, where they differ from those of modules.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "pydantic_core": "pydantic",
    "typing_extensions": "typing-extensions",
}
WITHOUT_EXTRAS = f"""
import importlib, pkgutil, sys
for name in {EXTRAS!r}:
    sys.modules[name] = None
for package in {LIBRARY!r}:
    module = importlib.import_module(f"mose.{{package}}")
    for inner in pkgutil.walk_packages(getattr(module, "__path__", []), f"mose.{{package}}."):
        importlib.import_module(inner.name)
"""


def python(text):
    return run(sys.executable, "-c", text, check=False, cwd=ROOT)


def modules_of(folder):
    return [path for path in sorted(folder.rglob("*.py"))]


def test_importing_the_package_imports_nothing_heavy():
    text = "import sys, mose; print(mose.__version__, *sorted(sys.modules))"
    version, *names = python(text).stdout.split()
    assert version == mose.__version__
    assert not {"torch", "numpy", "pandas", "transformers", "mose.methods"} & set(names)


def test_the_library_needs_none_of_the_extras():
    shown = python(WITHOUT_EXTRAS)
    assert shown.returncode == 0, shown.stderr[-2000:]


def test_the_library_s_imports_are_its_dependencies():
    """What a library package imports at the top of a file comes with `pip install mose`."""
    required = {name.split(">")[0].split("[")[0].lower() for name in PROJECT["dependencies"]}
    for package in LIBRARY:
        place = ROOT / "mose" / package
        for path in modules_of(place) if place.is_dir() else [place.with_suffix(".py")]:
            for node in ast.parse(path.read_text()).body:
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                heads = {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "mose"}
                assert {DISTRIBUTIONS.get(head, head) for head in heads} <= required, path


@pytest.mark.parametrize(
    ("absent", "text", "said"),
    [
        (
            "matplotlib",
            "import mose.report.figures.overview",
            "mose.report.figures needs matplotlib, which is not installed; "
            "pip install 'mose[workflow]'",
        ),
        (
            "datasets",
            "from mose.storage import hub; list(hub.records({'hub': 'a/b'}, 'datasets.x.source'))",
            "datasets.x.source: a/b needs datasets, which is not installed; "
            "pip install 'mose[hub]'",
        ),
        (
            "gguf",
            "from pathlib import Path; from mose.models import sources\n"
            "sources.convert_gguf(Path('a.gguf'), Path('b'))",
            "a.gguf: a GGUF file needs gguf, which is not installed; pip install 'mose[workflow]'",
        ),
        (
            "accelerate",
            "from mose.models import loading; loading.divide(None, ['cuda:0', 'cuda:1'], None)",
            "gpus: more than one needs accelerate, which is not installed; "
            "pip install 'mose[gpus]'",
        ),
        (
            "lm_eval",
            "from mose.evaluation.tasks import harness; harness._load()",
            "is not installed; pip install 'mose[harness]'",
        ),
        (
            "snakemake",
            "from mose.cli import workflow; workflow.command_of(['--cores', '1'])",
            "mose-workflow needs snakemake, which is not installed; pip install 'mose[workflow]'",
        ),
    ],
)
def test_what_needs_an_absent_extra_names_it(absent, text, said):
    shown = python(f"import sys; sys.modules[{absent!r}] = None\n{text}")
    assert shown.returncode != 0
    (last,) = shown.stderr.splitlines()[-1:]
    assert last.startswith(f"{ExtraMissing.__module__}.{ExtraMissing.__name__}: ")
    assert said in last


def test_extras_and_pinned_versions_agree():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines}
    for name in ("workflow", "slurm", "hub", "dev"):
        for asked in PROJECT["optional-dependencies"][name]:
            package = asked.split(">")[0].split("[")[0].lower()
            assert package in {*pinned, "mose"}, f"{name}: {asked} is not in constraints.txt"


def test_the_workflow_is_found_in_a_checkout():
    assert locations.workflow_folder() == ROOT
    command = workflow.command_of(["-n", "--configfile", "a.yaml"])
    assert command[-5:] == ["--snakefile", f"{ROOT}/Snakefile", "-n", "--configfile", "a.yaml"]


def test_an_installation_without_the_workflow_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(locations, "CODE", tmp_path)
    with pytest.raises(StoreError, match=r"mose/_workflow: the workflow is not there"):
        locations.workflow_folder()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A fresh environment with the wheel in it; what it depends on is that of the tests' own.

    A line in a .pth file adds a folder, and does not read the .pth files in there: the editable
    installation that the tests run with is not seen.
    """
    folder = tmp_path_factory.mktemp("package")
    run(*PIP, "wheel", *OFFLINE, "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("mose-*.whl")
    assert wheel.name.startswith(f"mose-{mose.__version__}-")
    place = folder / "environment"
    venv.create(place, symlinks=True, with_pip=False)
    python_here = place / "bin" / "python"
    run(*PIP, "--python", python_here, "install", *OFFLINE, wheel)
    (site,) = place.glob("lib/*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(shared) + "\n")
    return python_here


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """An empty folder to work in, with nothing of the checkout on Python's path."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_wheel_holds_library_and_workflow(environment, alone):
    shown = run(environment, "-c", "import mose; print(mose.__file__, mose.__version__)")
    path, version = shown.stdout.split()
    library = Path(path).parent
    assert library.is_relative_to(environment.parents[1])
    assert version == mose.__version__
    inside = library / "_workflow"
    assert run(environment, "-m", "mose.cli.workflow", "--folder").stdout.strip() == str(inside)
    command = environment.parent / "mose"
    assert "Example: mose edit" in run(command, "edit", "--help").stdout
    # Models by name are the wheel's files.
    listed = json.loads(run(command, "models", "--json").stdout)
    assert "smollm2-135m" in {row["model"] for row in listed}
    tracked = run("git", "ls-files", cwd=ROOT).stdout.splitlines()
    parts = ("Snakefile", "config/", "profiles/", "scripts/", "workflow/")
    wanted = {name for name in tracked if name.startswith(parts)}
    held = {str(path.relative_to(inside)) for path in inside.rglob("*") if path.is_file()}
    assert {name for name in held if "__pycache__" not in name} == wanted
    assert (library / "py.typed").is_file()
    assert (library / "data" / "facts.csv").is_file()


@pytest.mark.slow
def test_an_installed_workflow_runs_an_experiment_in_an_empty_folder(environment, alone):
    tiny.save(alone / "weights")
    (alone / "mine.yaml").write_text(yaml.safe_dump({"source": {"local": "weights"}}))
    facts = [
        {"subject": country, "prompt": "The capital of {} is", "target_new": "Bern"}
        for country, _ in tiny.FACTS
    ]
    (alone / "facts.json").write_text(json.dumps(facts))
    config = {
        **CONFIG,
        "models": ["mine.yaml"],
        "methods": {"memit": METHODS["memit"]},
        "edits": {"total": 2, "batch": 1, "checkpoint": 2},
    }
    (alone / "config.yaml").write_text(yaml.safe_dump(config))
    command = [environment.parent / "mose-workflow", "--cores", "2"]
    done = run(*command, "--configfile", "config.yaml")
    assert f"{environment.parents[1]}/lib/" in done.stdout + done.stderr, "its own programs ran"
    summary = (alone / "results" / "small" / "summary.csv").read_text()
    assert "memit,0,2," in summary


@pytest.mark.slow
def test_an_installed_library_edits_a_matrix(environment, alone):
    text = (
        "import torch; from mose.linalg.orthogonal import procrustes, polar; "
        "m = torch.randn(4, 4, dtype=torch.float64); r = polar(m); "
        "assert torch.allclose(r @ r.mT, torch.eye(4, dtype=torch.float64))"
    )
    run(environment, "-c", text)
