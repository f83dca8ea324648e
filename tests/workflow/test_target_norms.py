"""The target `target_norms` with real Snakemake, and the anchor it gives taken by a variant."""

import json

import pandas as pd
import pytest
from project import METHODS, TARGETS, Project, check

from mose.editing.anchors import anchor_of

ALPHAEDIT = {"method": "alphaedit", "layers": [1, 2], "null_threshold": 1.0, **TARGETS}
OF = "results/small/tiny/capitals/target_norms"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


def test_it_measures_no_more_requests_than_there_are_and_says_so(project):
    methods = {"alphaedit": ALPHAEDIT, "memit": METHODS["memit"]}
    done = project.run("--", "target_norms", methods=methods, pilot_edits=50)
    check(done)
    assert [path.name for path in sorted((project.folder / OF).iterdir())] == [
        *("alphaedit.csv", "alphaedit.json"),
    ]
    norms = pd.read_csv(project.folder / OF / "alphaedit.csv")
    assert list(norms.columns) == ["request", "norm"]
    found = json.loads((project.folder / OF / "alphaedit.json").read_text())
    assert 0 < found["requests"] == len(norms) < found["requests_asked_for"] == 50
    assert (found["anchor"], found["left_out"]) == anchor_of(norms.norm.tolist())
    assert found["layer"] == 2
    log = project.folder / "results/logs/target_norms/small.tiny.capitals.alphaedit.log"
    assert f"anchor {found['anchor']}" in log.read_text()

    anchored = {**ALPHAEDIT, "targets": "anchored", "anchor": found["anchor"]}
    again = {"nas": anchored}
    made = f"{OF}/nas.json"
    done = project.run("--", made, methods=again, pilot_edits=50)
    check(done)
    assert json.loads((project.folder / made).read_text()) == found


def test_without_alphaedit_it_says_what_to_do(project):
    done = project.run("-n", "--", "target_norms", methods={"memit": METHODS["memit"]})
    assert done.returncode != 0
    assert "none is of AlphaEdit, whose targets" in done.stderr + done.stdout
