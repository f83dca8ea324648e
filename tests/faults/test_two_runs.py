"""Two runs: of one folder, one after the other with another config and both at once; of two
folders that share a cache."""

import os
import shutil
import signal
import time

import flow
import pytest
from project import CONFIG, METHODS, ROOT, Project

TARGETS = (
    "results/small/tiny/capitals/seed0/requests.jsonl",
    "results/small/tiny/templates/seed0.json",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which requests and templates are made, and no more."""
    project = Project(tmp_path_factory.mktemp("runs"))
    done = flow.run(project, "--", *TARGETS)
    assert done.status == 0, done.said[-3000:]
    return project


def replanned(project, **changed):
    """Which rules another config makes necessary for the targets."""
    shown = project.run("-n", "--quiet", "host", "--", *TARGETS, **changed)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout + shown.stderr
    return {
        line.split()[1].rstrip(":")
        for line in text.splitlines()
        if line.startswith(("rule ", "localrule "))
    }


@pytest.mark.parametrize(
    ("changed", "reruns"),
    [
        ({}, set()),
        ({"templates": {"length": 5}}, {"templates"}),
        ({"dtype": "bfloat16"}, {"facts", "requests", "templates"}),
        ({"datasets": {"capitals": {**CONFIG["datasets"]["capitals"], "neighbours": 2}}},
         {"requests"}),
        ({"datasets": {"capitals": {**CONFIG["datasets"]["capitals"], "conflicts": "last"}}},
         {"facts", "requests"}),
        ({"methods": {"memit": METHODS["memit"]}}, set()),
        ({"edits": {"total": 6, "batch": 1, "checkpoint": 2}}, set()),
    ],
)  # fmt: skip
def test_an_edited_config_reruns_what_depends_on_it_and_no_more(project, changed, reruns):
    assert replanned(project, **changed) == reruns


def test_a_second_workflow_in_a_folder_is_refused_while_the_first_runs(project):
    target = TARGETS[1]
    first = flow.Flow(project, "--forcerun", "templates", "--", target)
    deadline = time.monotonic() + 200
    while (running := project.jobs.find(str(ROOT / "scripts/make_templates.py"))) is None:
        assert time.monotonic() < deadline, "the job does not come"
        time.sleep(0.005)
    os.kill(running, signal.SIGSTOP)
    second = project.run("--forcerun", "templates", "--", target)
    os.kill(running, signal.SIGCONT)
    ended = first.end()
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    assert ended.status == 0, ended.said
    assert project.run("-n", "--", target).returncode == 0, "the lock is gone"


def chain_of(project, method):
    """What a method's chain has measured, by name."""
    folder = project.folder / flow.METHODS_FOLDER / method / "seed0"
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def edits_begun(ended):
    return sorted(log.split("capitals.")[1] for log in ended.jobs("begun") if "logs/edit/" in log)


def test_a_changed_option_never_continues_an_old_chain_even_if_the_change_was_cut_short(
    whole, tmp_path
):
    project = whole.copy(tmp_path)
    old = chain_of(project, "memit")
    other = chain_of(project, "mose-input")
    changed = {**METHODS["memit"], "lambda": 0.2}

    # Cut short: the first checkpoint is of the new option, the second of the old one.
    target = str(flow.METHODS_FOLDER / "memit/seed0/edits2.h5")
    begun = flow.run(project, "--", target, methods={**METHODS, "memit": changed})
    assert begun.status == 0, begun.said[-4000:]
    assert edits_begun(begun) == ["memit.0.2.log"]

    # The same options under a label that was never used: a chain without a past.
    methods = {"memit": changed, "fresh": changed}
    done = flow.run(project, methods=methods)
    assert done.status == 0, done.said[-4000:]
    assert edits_begun(done) == ["fresh.0.2.log", "fresh.0.4.log", "memit.0.4.log"]
    assert chain_of(project, "memit") == chain_of(project, "fresh") != old
    assert chain_of(project, "mose-input") == other

    # And back: as if nothing had been.
    back = flow.run(project)
    assert back.status == 0, back.said[-4000:]
    assert edits_begun(back) == ["memit.0.2.log", "memit.0.4.log"]
    shutil.rmtree(project.folder / flow.METHODS_FOLDER / "fresh")
    assert flow.tables(project) == flow.tables(whole)


def sharing(cache, folder, whole):
    """A project whose models, corpus and second moments are in a folder that others use too."""
    folder.mkdir()
    project = Project(folder)
    (folder / "results").mkdir()
    (folder / "results/models").symlink_to(cache)
    # One model at one place, as a hub's cache is.
    shutil.rmtree(folder / "tiny-llama")
    (folder / "tiny-llama").symlink_to(whole.folder / "tiny-llama")
    return project


def test_folders_that_share_a_cache_may_fill_it_at_once_and_find_it_filled(whole, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    target = str(flow.METHODS_FOLDER / "memit/seed0/scores2.csv")
    projects = [sharing(cache, tmp_path / name, whole) for name in ("one", "two")]
    for running in [flow.Flow(project, "--", target) for project in projects]:
        running.end()  # a file that the other makes anew may be missing at that moment
    projects.append(sharing(cache, tmp_path / "three", whole))
    for project in projects:
        done = flow.run(project, "--", target)
        assert done.status == 0, done.said[-4000:]
        expected = (whole.folder / target).read_bytes()
        assert (project.folder / target).read_bytes() == expected
        assert flow.leftovers(project.folder) == []
    stages = {log.split("/")[2] for log in done.jobs("begun")}
    assert "edit" in stages
    assert not stages & {"model", "corpus", "moments"}, "what others have made is not made again"
