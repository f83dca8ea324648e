"""Fixtures that several tests share."""

from pathlib import Path

import pytest
import tiny
import torch

from mose.facts.requests import EditRequest, Probe

# Two threads waiting for each other on a busy machine are slower than one.
torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


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

    source = yaml_files.read_yaml(ROOT / "config" / "models" / "smollm2-135m.yaml")["source"]
    folder = tmp_path_factory.mktemp("smollm2")
    files.write_json(folder / "manifest.json", sources.obtain(source, folder / "weights"))
    return folder / "manifest.json"


@pytest.fixture(scope="session")
def smollm2(packaged):
    """The packaged SmolLM2; tests that write to it put its weights back."""
    from mose.models import loading

    return loading.load(packaged, "cpu")
