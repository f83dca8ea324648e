"""Methods of other packages: that of docs/extending.md, installed, and some that are wrong."""

import re
import sys
from pathlib import Path

import pytest
from packages import install_into, run, seeing, write_distribution
from project import METHODS as VARIANTS
from project import Project

from mose.errors import ConfigError
from mose.methods.plugins import Register, files_of_editor
from mose.methods.register import METHODS, OWN, Method

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "extending.md"
HALF = {"method": "half", "share": 0.25, "layers": [1], "lambda": 0.5, "learning_rate": 0.1}
PLAN = f"""
import sys
from mose.methods.register import METHODS, files_of, parse_variant
variant = parse_variant({HALF!r})
assert "half" in METHODS and variant.options.share == 0.25, variant
assert "torch" not in sys.modules
print(*files_of(variant), sep="\\n")
"""
EDIT = f"""
import torch
from mose.linalg.second_moment import SecondMoment
from mose.methods.editors import make_editor
from mose.methods.register import parse_variant

weight, keys, residuals = torch.randn(6, 8), torch.randn(8, 3).double(), torch.randn(6, 3).double()
moment = SecondMoment(torch.eye(8, dtype=torch.float64))
half = {HALF!r}
memit = {{**half, "method": "memit"}}
del memit["share"]
changes = []
for entry in (half, memit):
    variant = parse_variant(entry)
    editor = make_editor(weight, moment, variant)
    editor.update(keys, residuals)
    again = make_editor(weight, moment, variant)
    again.load(editor.state())
    assert torch.equal(again.weight, editor.weight)
    changes.append(editor.weight - weight)
assert changes[1].abs().max() > 0.1
assert torch.allclose(4 * changes[0], changes[1], atol=1e-5)
"""


def documented_package(folder: Path) -> Path:
    """The package of the docs: every file is named in the line before its block."""
    named = re.findall(r"^`([\w./]+)`[^\n]*\n```\w+\n(.*?)```", DOCS.read_text(), re.M | re.DOTALL)
    assert {name for name, _ in named} == {
        "pyproject.toml",
        "mose_half/__init__.py",
        "mose_half/editor.py",
    }
    for name, text in named:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the documented package is installed in."""
    folder = tmp_path_factory.mktemp("installed")
    install_into(folder, documented_package(tmp_path_factory.mktemp("half")))
    return folder


def python(text, *folders):
    return run(sys.executable, "-c", text, env=seeing(*folders, ROOT), check=False)


def test_an_installed_method_is_planned_without_torch_and_named_by_its_files(installed):
    planned = python(PLAN, installed)
    assert planned.returncode == 0, planned.stderr
    expected = [str(installed / "mose_half" / name) for name in ("__init__.py", "editor.py")]
    assert planned.stdout.split() == expected


def test_an_installed_method_edits_and_restores(installed):
    edited = python(EDIT, installed)
    assert edited.returncode == 0, edited.stderr


def test_the_workflow_plans_an_installed_method(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", seeing(installed, ROOT)["PYTHONPATH"])
    project = Project(tmp_path)
    methods = {"memit": VARIANTS["memit"], "quarter": HALF}
    assert project.planned(checkout=ROOT, methods=methods)["edit"] == 4
    refused = project.run_plainly("-n", methods={"quarter": {**HALF, "shares": 1}})
    assert refused.returncode != 0
    assert "unknown key 'shares'" in refused.stdout + refused.stderr
    shown = project.run_plainly("-n", "--printshellcmds", methods=methods)
    assert '"share": 0.25' in shown.stdout + shown.stderr


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Makes a register that sees distributions written into a folder."""

    def made(**distributions):
        for name, (points, modules) in distributions.items():
            write_distribution(tmp_path, name, points, **modules)
        monkeypatch.syspath_prepend(tmp_path)
        return Register(OWN, Method)

    return made


def test_the_library_s_own_methods_need_no_other_package_to_work(register):
    broken = register(bad=("third = bad_module:ROW", {"bad_module": "import no_such_module"}))
    assert broken["memit"] is OWN["memit"]
    assert set(broken) == {*OWN, "third"}
    assert len(broken) == len(OWN) + 1
    with pytest.raises(KeyError):
        broken["fourth"]


@pytest.mark.parametrize(
    ("distributions", "said"),
    [
        (
            {"bad": ("third = bad_one:ROW", {"bad_one": "import no_such_module"})},
            r"bad: its method 'third' \(bad_one:ROW\) cannot be imported \(ModuleNotFoundError: ",
        ),
        (
            {"bad": ("third = bad_two:ROW", {"bad_two": "raise RuntimeError('a\\nb')"})},
            r"bad: .* cannot be imported \(RuntimeError: a b\)",
        ),
        ({"bad": ("third = bad_three:ROW", {"bad_three": ""})}, "bad: .* cannot be imported"),
        (
            {"bad": ("third = bad_four:ROW", {"bad_four": "ROW = 3"})},
            r"bad: .* is of type int, expected mose\.methods\.\w+\.Method",
        ),
        ({"bad": ("memit = bad_five:ROW", {})}, "bad: its method 'memit' has the name of one of"),
        (
            {"one": ("third = a:ROW", {}), "two": ("third = b:ROW", {})},
            "one, two: both have a method 'third'",
        ),
    ],
)
def test_a_package_that_is_wrong_is_one_line_that_names_it(register, distributions, said):
    with pytest.raises(ConfigError, match=said) as caught:
        register(**distributions)["third"]
    assert "\n" not in str(caught.value)


def test_files_of_an_editor(tmp_path, monkeypatch):
    assert files_of_editor("mose.methods.memit:MemitEditor") == ["mose/methods/memit.py"]
    (tmp_path / "one_file_method.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert files_of_editor("one_file_method:E") == [str(tmp_path / "one_file_method.py")]
    with pytest.raises(ConfigError, match="no package no_such_package"):
        files_of_editor("no_such_package.sub:E")
    assert all(files_of_editor(METHODS[name].editor) for name in OWN)
