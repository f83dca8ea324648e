"""Fixtures that several tests share."""

import time
from pathlib import Path

import pytest
import shared
import tiny
import torch
from project import Project, check

from mose.facts.requests import EditRequest, Probe

# Two threads waiting for each other on a busy machine are slower than one.
torch.set_num_threads(1)

TESTS = Path(__file__).parent
ROOT = TESTS.parent
REAL_DATA = ROOT.parent / "shared" / "data"


# Of what takes longest first: two workers then end together.
LONGEST = ("workflow", "faults", "evaluation", "models")


def pytest_collection_modifyitems(items):
    """Whole folders of tests in the order in which workers should begin them."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(TESTS).parts[0], len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test touches the user's own cache; all share what has been computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def llama():
    """A tiny Llama; tests that write to it put its weights back."""
    return tiny.model("llama")


@pytest.fixture
def requests():
    """Six requests with paraphrases and neighbours."""
    objects = [capital for _, capital in tiny.FACTS]
    return [
        EditRequest(
            id=f"capital/{country}",
            subject=country,
            prompt="The capital of {} is" if i % 2 else "{} has the capital",
            target_new=objects[(i + 5) % len(objects)],
            target_true=capital,
            relation="capital",
            paraphrases=(f"People of {country} meet in", f"The city that rules {country} is"),
            locality=(Probe("The capital of Kenya is", "Nairobi"),),
        )
        for i, (country, capital) in enumerate(tiny.FACTS[:6])
    ]


@pytest.fixture
def templates():
    """The bare prompt and two contexts."""
    return ["{}", "Because I said so. {}", "The people there speak. {}"]


@pytest.fixture(scope="session")
def real_data():
    """The folder of real third-party records; tests that need it are skipped without it."""
    if not REAL_DATA.is_dir():
        pytest.skip("no real records beside this checkout (../shared/data)")
    return REAL_DATA


@pytest.fixture(scope="session")
def packaged(tmp_path_factory):
    """The manifest of the packaged SmolLM2, fetched and converted once."""
    from mose.models import sources
    from mose.storage import files, yaml_files

    def fill(folder):
        path = ROOT / "config" / "models" / "smollm2-135m.yaml"
        source = yaml_files.read_yaml(path)["source"]
        files.write_json(folder / "manifest.json", sources.obtain(source, folder / "weights"))

    return shared.folder(tmp_path_factory, "smollm2", fill) / "manifest.json"


@pytest.fixture(scope="session")
def smollm2(packaged):
    """The packaged SmolLM2; tests that write to it put its weights back."""
    from mose.models import loading

    return loading.load(packaged, "cpu")


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A project whose workflow has ended undisturbed: two methods, four edits in two checkpoints.

    Tests read it; what changes or plans anything works on a copy. `said.txt` is what Snakemake
    said, `seconds.txt` how long it took.
    """

    def fill(folder):
        begun = time.monotonic()
        done = Project(folder).run()
        check(done)
        (folder / "said.txt").write_text(done.stderr)
        (folder / "seconds.txt").write_text(str(time.monotonic() - begun))

    return Project(shared.folder(tmp_path_factory, "whole", fill))
