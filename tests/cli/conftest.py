"""What `mose edit` wrote of a tiny model, for tests to read."""

import json

import pytest
import tiny
from command import OPTIONS, run
from front_door import FACTS, cache_in


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    yield from cache_in(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, facts, and what `mose edit` wrote of them: read by tests."""
    place = tmp_path_factory.mktemp("command")
    tiny.save(place / "base")
    (place / "facts.json").write_text(json.dumps(FACTS[:3]))
    (place / "more.json").write_text(json.dumps(FACTS[3:5]))
    (place / "none.json").write_text("[]")
    (place / "other.h5").write_text("text")
    (place / "flow" / "weights").mkdir(parents=True)
    (place / "flow" / "weights" / "model.safetensors").touch()
    (place / "elsewhere.json").write_text(json.dumps([{**FACTS[0], "prompt": "It is"}]))
    pairs = [f"--option={key}={json.dumps(value)}" for key, value in OPTIONS.items()]
    status, out, _ = run(
        "edit", place / "base", place / "facts.json", "--method", "memit", *pairs, "--device",
        "cpu", "--out", place / "edited", "--patch", place / "edit.safetensors", "--state",
        place / "state.h5", "--json",
    )  # fmt: skip
    assert status == 0
    (place / "edits.json").write_text(out)
    return place
