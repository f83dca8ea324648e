"""Workflows killed as machines and schedulers kill them: a second run ends as if nothing was."""

import random
import shutil
import time

import flow
import pytest
from project import Project

SEEDS = 20


def test_sigkill_within_a_segment_loses_only_that_segment(whole, tmp_path):
    project = flow.without_last_segment(whole, tmp_path)
    expected = flow.tables(whole)
    running = flow.Flow(project, "--", flow.TABLES)
    edits = flow.stop_edits(project)  # each has written its first batch of two
    running.kill(0)
    assert len(edits) == 2
    assert not list(project.folder.glob("results/**/edits4.h5"))

    locked = project.run("--", flow.TABLES)
    assert "--unlock" in locked.stderr
    assert project.run("--unlock").returncode == 0
    done = flow.run(project)
    assert done.status == 0, done.said[-4000:]
    assert sorted(log for log in done.jobs("begun") if "logs/edit/" in log) == [
        f"results/logs/edit/small.tiny.capitals.{method}.0.4.log"
        for method in ("memit", "mose-input")
    ]
    assert flow.tables(project) == expected, "the numbers of the run that nobody disturbed"
    assert flow.leftovers(project.folder) == []


def seconds_of_a_start(project):
    """How long Snakemake takes before it begins a job."""
    begun = time.monotonic()
    flow.Flow(project, "-n").end()
    return time.monotonic() - begun


@pytest.mark.slow
def test_sigkill_at_random_moments_of_a_workflow_changes_no_byte(whole, tmp_path):
    expected = flow.tables(whole)
    assert len(expected) > 30
    project = Project(tmp_path)
    # Some seconds more, on average, than a start takes: twenty lives are a run or two.
    longest = seconds_of_a_start(project) + float((whole.folder / "seconds.txt").read_text()) / 2
    said: set[str] = set()
    for seed in range(SEEDS):
        ended = flow.Flow(project).kill(random.Random(seed).uniform(0, longest))
        finished = {*ended.jobs("finished")}
        assert not finished & said, f"{seed}: what was finished before a kill is not done again"
        said |= finished
        flow.unlock(project)
        if ended.status == 0:  # a whole run; the other seeds kill another
            assert flow.tables(project) == expected
            for name in ("results", ".snakemake"):
                shutil.rmtree(project.folder / name)
            said.clear()
    ended = flow.run(project, "--", "all")
    assert ended.status == 0, ended.said[-4000:]
    assert not {*ended.jobs("finished")} & said
    assert flow.tables(project) == expected
    assert flow.leftovers(project.folder) == []
