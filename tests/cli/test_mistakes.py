"""Mistakes in calls of the command `mose`: one line, and told before torch is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import run

ROOT = Path(__file__).parents[2]

WRONG = {
    "nothing to write": (("edit", "base", "facts.json"), "nothing to write; give --out"),
    "a folder in use": (("edit", "base", "facts.json", "--out", "."), "is there already"),
    "a folder that takes no file": (
        ("edit", "base", "facts.json", "--state", "/proc/none/s.h5"), "/proc: cannot be written",
    ),
    "a state in another form": (
        ("edit", "base", "facts.json", "--state", "s.txt"), "found 's.txt', expected a name in .h5",
    ),
    "another state": (
        ("edit", "base", "facts.json", "--state", "state.h5"), "state.h5: is there already; give",
    ),
    "another patch": (
        ("edit", "base", "facts.json", "--patch", "edit.safetensors"), "is there already; give",
    ),
    "a method for a state": (
        ("edit", "state.h5", "facts.json", "--state", "s.h5", "--method", "rome"), "leave --method",
    ),
    "an option without a value": (
        ("edit", "base", "facts.json", "--state", "s.h5", "-o", "steps"), "expected KEY=VALUE",
    ),
    "an option that is none": (
        ("edit", "base", "facts.json", "--state", "s.h5", "-o", "stepz=3"), "unknown key 'stepz'",
    ),
    "a method that is none": (
        ("edit", "base", "facts.json", "--state", "s.h5", "--method", "memti"), "did you mean",
    ),
    "options of a state": (
        ("edit", "state.h5", "facts.json", "--state", "s.h5", "-o", "steps=3"),
        "leave --method, --option",
    ),
    "facts that are not there": (
        ("evaluate", "base", "gone.json"), "gone.json: no such file; check the path",
    ),
    "a folder as facts": (
        ("edit", "base", ".", "--state", "s.h5"), "a folder, expected a file; give a file",
    ),
    "a folder to check": (("check", "."), "a folder, expected a file; give a file"),
    "no facts": (("edit", "base", "none.json", "--state", "s.h5"), "holds no records; give at"),
    "facts without their subjects": (
        ("edit", "base", "elsewhere.json", "--state", "s.h5"),
        "none of 1 records can be used: subject not in the prompt (1, record 0 first); correct",
    ),
    "a form that is none": (
        ("check", "facts.json", "--form", "countefact"), "did you mean 'counterfact'?",
    ),
    "columns that are none": (
        ("check", "facts.json", "--columns", "answer"), "found 'answer', expected {FIELD",
    ),
    "columns of a configuration": (
        ("check", "my.yaml", "--columns", "{target_new: answer}"), "leave --form and --columns out",
    ),
    "a column that is not there": (
        ("check", "facts.json", "--columns", "{target_new: answer}"), "has no field 'answer'",
    ),
    "a folder that is no model": (("ask", ".", "So"), "not a model; give a folder with config"),
    "a model's folder of the workflow": (
        ("ask", "flow", "So"), "flow: has its model inside; give /",
    ),
    "a state that is not there": (
        ("export", "gone.h5", "--out", "new"), "gone.h5: no such file; give what mose edit --state",
    ),
    "a patch that is not there": (
        ("ask", "base", "So", "--patch", "gone.safetensors"), "no such file; give the path of a",
    ),
    "nothing to continue": (("ask", "base", " "), "found nothing to continue; give a text"),
    "facts as a configuration": (("run", "facts.json"), "expected an experiment's configuration"),
    "a method to list that is none": (("methods", "memti"), "did you mean 'memit'?"),
    "a model that is not there": (("ask", "bas", "So"), "known are"),
    "a patch of another base": (
        ("ask", "edited", "So", "--patch", "edit.safetensors"), "in this model already",
    ),
    "a file of facts": (("inspect", "facts.json"), "a file of records, which mose check looks"),
    "a file of another program": (("inspect", "other.h5"), "not an HDF5 file"),
    "no such file": (("inspect", "gone.h5"), "gone.h5: no such file"),
    "no configuration": (("run", "gone.yaml"), "gone.yaml: no such file"),
    "a kind that is none": (
        ("cache", "clear", "--kind", "all"), "expected models, statistics or settings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_status_1(name, folder, monkeypatch):
    arguments, said = WRONG[name]
    monkeypatch.chdir(folder)
    status, out, errors = run(*arguments)
    assert (status, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert said in line


TOLD_AT_ONCE = (
    "a folder as facts", "no facts", "facts that are not there", "a model that is not there",
    "a state that is not there", "a patch that is not there", "nothing to continue",
    "nothing to write", "a folder in use", "an option without a value",
    "a folder that takes no file", "another state", "another patch", "a method for a state",
)  # fmt: skip
WITHOUT_TORCH = """
import sys
from mose.cli import main
for arguments in {calls}:
    sys.argv = ["mose", *arguments]
    try:
        main.main()
    except SystemExit as stopped:
        assert str(stopped.code).startswith("error: "), arguments
    else:
        raise AssertionError(arguments)
    assert not {{"torch", "transformers"}} & {{*sys.modules}}, arguments
"""


def test_names_and_files_are_checked_before_torch_is_imported(folder):
    program = WITHOUT_TORCH.format(calls=[WRONG[name][0] for name in TOLD_AT_ONCE])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_wrong_usage_has_status_2():
    status, _, errors = run("ask")
    assert status == 2
    assert "Usage: mose ask" in errors
