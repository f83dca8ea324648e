"""The settings that come with the project: every entry parses, and fits its model."""

from pathlib import Path

import pytest

from mose import config

ROOT = Path(__file__).parents[1]
DEPTH = {
    "smollm2-135m": 30,
    "llama3-8b": 32,
    "llama2-13b": 40,
    "qwen2.5-7b": 28,
    "gpt2-xl": 48,
    "gpt-j-6b": 28,
}
COMPARED = {
    *("mose", "rome", "r-rome", "memit", "memit-nas", "emmet", "alphaedit", "rect", "prune"),
    *("sphere", "encore", "ft", "ft-bound", "oft"),
}


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "models").glob("*.yaml")), ids=str)
def test_every_compared_method_has_settings_that_fit_the_model(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = config.read_yaml(path)["methods"]
    assert set(names) >= COMPARED
    experiment = {
        "experiment": "e",
        "models": [str(path)],
        "datasets": {"facts": {"source": "builtin"}},
        "edits": {"total": 10, "checkpoint": 10},
        "methods": {name: {"settings": name} for name in names},
    }
    _, models = config.read_experiment(experiment, ROOT / "workflow" / "schemas")
    for variant in models[path.stem].variants.values():
        assert max(variant.edit.layers) < DEPTH[path.stem]
