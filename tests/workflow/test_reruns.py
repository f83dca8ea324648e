"""What a changed configuration or changed code makes again, and what it leaves alone."""

import shutil

import flow
import pandas as pd
import pytest
from project import METHODS, ROOT

MORE = {"total": 6, "batch": 1, "checkpoint": 2}


def test_a_second_run_does_nothing(whole, tmp_path):
    project = whole.copy(tmp_path)
    assert project.planned() == {}
    done = project.run()
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def longer(whole, tmp_path_factory):
    """(project, what its plan was, its files before): the experiment with two edits more."""
    project = whole.copy(tmp_path_factory.mktemp("longer"))
    before = project.results("tiny/**/*[24].*")
    planned = project.planned(edits=MORE)
    done = flow.run(project, edits=MORE)
    assert done.status == 0, done.said[-4000:]
    return project, planned, before


@pytest.mark.xdist_group("longer")
def test_more_edits_run_only_the_new_segments(longer):
    project, planned, before = longer
    methods = len(METHODS)
    assert planned == {
        "edit": methods,
        "measure": methods,
        "stability": methods,
        "measure_unedited": 1,
        "enough_requests": 1,
        "tables": 1,
        "figures": 1,
        "all": 1,
        "total": 3 * methods + 5,
    }
    after = project.results("tiny/**/*[24].*")
    assert len(before) > 20
    assert {name: after[name] for name in before} == before
    summary = pd.read_csv(project.folder / "results" / "small" / "summary.csv")
    assert sorted(summary.edits.unique()) == [0, 2, 4, 6]


@pytest.mark.xdist_group("longer")
def test_a_changed_option_starts_its_own_chain_afresh_and_no_other(longer):
    methods = {**METHODS, "memit": {**METHODS["memit"], "lambda": 0.2}}
    planned = longer[0].planned(methods=methods, edits=MORE)
    assert planned["edit"] == 3, "all three segments of the changed method"
    assert "corpus" not in planned
    assert "second_moments" not in planned


@pytest.mark.xdist_group("longer")
def test_changed_code_makes_what_it_defines_again_and_a_mere_copy_nothing(longer):
    project = longer[0]
    linked = project.folder / "mose"
    linked.unlink()
    try:
        shutil.copytree(ROOT / "mose", linked)
        assert project.planned("--", flow.TABLES, edits=MORE) == {}
        with (linked / "methods" / "memit.py").open("a") as file:
            file.write("# Another formula.\n")
        planned = project.planned(edits=MORE)
    finally:
        shutil.rmtree(linked)
        linked.symlink_to(ROOT / "mose")
    assert planned["edit"] == 3, "MEMIT's three segments"
    assert not {"corpus", "second_moments", "templates", "measure_unedited"} & set(planned)
