"""Workflows killed as machines and schedulers kill them: a second run ends as if nothing was."""

import random
import shutil

import flow
from project import Project

SEEDS = 20


def test_sigkill_at_random_moments_of_a_workflow_changes_no_byte(whole, jobs, tmp_path):
    undisturbed, seconds = whole
    expected = flow.tables(undisturbed)
    assert len(expected) > 30
    project = Project(tmp_path)
    said: set[str] = set()
    for seed in range(SEEDS):
        # Some seconds more, on average, than a start takes: twenty lives are a run or two.
        after = random.Random(seed).uniform(0, seconds / 2)
        ended = flow.Flow(project, jobs).kill(after)
        finished = {*ended.jobs("finished")}
        print(f"{seed}: {after:.1f} s; it ran {sorted({*ended.jobs('begun')} - finished)}")
        assert not finished & said, "what was finished before a kill is not done again"
        said |= finished
        flow.unlock(project)
        if ended.status == 0:  # a whole run; the other seeds kill another
            assert flow.tables(project) == expected
            for name in ("results", ".snakemake"):
                shutil.rmtree(project.folder / name)
            said.clear()
    ended = flow.run(project, jobs)
    assert ended.status == 0, ended.said[-4000:]
    assert not {*ended.jobs("finished")} & said
    assert flow.tables(project) == expected
    assert flow.leftovers(project.folder) == []
