"""The undisturbed runs that every disturbed one is compared with."""

import json
import shutil
import time

import chain
import pytest
import shared
import tiny


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """(folder, seconds by stage) of a finished experiment."""

    def fill(folder):
        tiny.save(folder / "tiny-llama")
        (folder / "facts.json").write_text(json.dumps(chain.facts()))
        seconds = {}
        for name, (command, _) in chain.stages().items():
            begun = time.monotonic()
            status, said = chain.run(folder, command)
            assert status == 0, f"{name}: {said}"
            seconds[name] = time.monotonic() - begun
        (folder / "seconds.json").write_text(json.dumps(seconds))

    folder = shared.folder(tmp_path_factory, "undisturbed", fill)
    return folder, json.loads((folder / "seconds.json").read_text())


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
