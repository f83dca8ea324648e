"""Two runs of one folder, one after the other with another config, and both at once."""

import subprocess

import pytest
from project import CONFIG, METHODS, Project

TARGETS = (
    "results/small/tiny/capitals/seed0/requests.jsonl",
    "results/small/tiny/templates/seed0.json",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which requests and templates are made, and no more."""
    made = Project(tmp_path_factory.mktemp("runs"))
    done = made.run("--", *TARGETS)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


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
    target = "results/small/tiny/templates/seed0.json"
    command = project.command("--forcerun", "templates", "--", target)
    first = subprocess.Popen(
        command, cwd=project.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    shown = ""
    assert first.stderr is not None
    for line in first.stderr:
        shown += line
        if "rule templates" in line:  # it runs: it holds the lock
            break
    second = project.run("--forcerun", "templates", "--", target)
    _, rest = first.communicate(timeout=200)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    assert first.returncode == 0, shown + rest
    assert project.run("-n", "--", target).returncode == 0, "the lock is gone"
