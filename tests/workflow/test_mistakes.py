"""Mistakes in a configuration: refused in one line, by the plan or by the job that notices."""

import pytest
from project import METHODS


@pytest.fixture
def project(whole, tmp_path):
    """A finished project, whose configuration gets a mistake."""
    return whole.copy(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"edits": {"total": 4, "batch": 1, "checkpoint": 2, "stepp": 1}},
            "config: edits: unknown key 'stepp'; known are total, batch, checkpoint",
        ),
        (
            {"methods": {"m": {**METHODS["memit"], "stepp": 1}}},
            "config: methods.m: unknown key 'stepp' for method memit; did you mean 'steps'?",
        ),
        ({"models": ["none.yaml"]}, "none.yaml: no such file"),
    ],
)
def test_a_mistake_in_the_config_stops_before_anything_runs(project, changed, message):
    refused = project.run("-n", **changed)
    assert refused.returncode != 0
    shown = refused.stdout + refused.stderr
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"experiment": "toomany", "edits": {"total": 40, "batch": 1, "checkpoint": 20}},
            "error: edits.total asks for 40 edits and",
        ),
    ],
)
def test_what_only_a_job_can_notice_is_one_line_in_its_log(project, changed, message):
    refused = project.run(**changed)
    assert refused.returncode != 0
    shown = refused.stdout + refused.stderr
    assert message in shown
    assert "Traceback" not in shown
    left = [p for p in (project.folder / "results").rglob("*") if p.suffix in (".tmp", ".part")]
    assert left == []
