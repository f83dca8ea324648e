"""The undisturbed runs that every disturbed one is compared with."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import tiny
from project import Project

sys.path.insert(0, str(Path(__file__).parent))
import chain
import flow
import warm


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(folder, seconds by stage) of a finished experiment."""
    folder = tmp_path_factory.mktemp("undisturbed")
    tiny.save(folder / "tiny-llama")
    (folder / "facts.json").write_text(json.dumps(chain.facts()))
    seconds = {}
    for name, (command, _) in chain.stages().items():
        begun = time.monotonic()
        status, said = chain.run(folder, command)
        assert status == 0, f"{name}: {said}"
        seconds[name] = time.monotonic() - begun
    return folder, seconds


@pytest.fixture
def experiment(undisturbed, tmp_path):
    """A finished experiment of the test's own, to be damaged; its model included."""
    folder = tmp_path / "experiment"
    shutil.copytree(undisturbed[0], folder)
    manifest = folder / "results/models/tiny/manifest.json"
    made = json.loads(manifest.read_text())
    made["directory"] = str(folder / "tiny-llama")
    manifest.write_text(json.dumps(made))
    return folder


@pytest.fixture(scope="session")
def jobs():
    """What runs the jobs of workflows."""
    made = warm.Jobs()
    yield made
    made.close()


@pytest.fixture(scope="session")
def whole(tmp_path_factory, jobs):
    """(project, seconds) of a workflow that nobody disturbed."""
    project = Project(tmp_path_factory.mktemp("whole"))
    begun = time.monotonic()
    done = flow.run(project, jobs)
    assert done.status == 0, done.said[-4000:]
    return project, time.monotonic() - begun
