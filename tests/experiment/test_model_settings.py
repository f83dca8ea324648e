"""The settings that come with the models (config/models/) are ones that an experiment can take."""

from pathlib import Path

import pytest

from mose.experiment import config, settings
from mose.methods.register import parse_variant
from mose.storage import yaml_files

ROOT = Path(__file__).parents[2]
FILES = {
    path.stem: yaml_files.read_yaml(path) for path in (ROOT / "config" / "models").glob("*.yaml")
}
SETTINGS = {name: FILES[name]["methods"] for name in sorted(FILES) if FILES[name].get("methods")}
# Blocks of the models.
DEPTH = {
    "gpt-j-6b": 28, "gpt2-xl": 48, "llama2-13b": 40, "llama3-8b": 32, "qwen2.5-7b": 28,
    "smollm2-135m": 30,
}  # fmt: skip
NAMES = {
    "alphaedit", "emmet", "encore", "ft", "ft-bound", "memit", "memit-rescaled", "mose", "oft",
    "prune", "r-rome", "rect", "rome", "sphere",
}  # fmt: skip


@pytest.mark.parametrize("model", SETTINGS)
def test_every_entry_is_one_that_an_experiment_can_take(model, monkeypatch):
    monkeypatch.chdir(ROOT)
    made = {
        "experiment": "e",
        "models": [model],
        "datasets": {"facts": {"source": "builtin"}},
        "edits": {"total": 10, "batch": 10, "checkpoint": 10},
    }
    # Once as written out, and once by name.
    config.read_experiment({**made, "methods": SETTINGS[model]}, model)
    by_name = {**made, "methods": {name: {"settings": name} for name in SETTINGS[model]}}
    variants = config.read_experiment(by_name, model)[1][model].variants
    assert variants == {k: parse_variant(v) for k, v in SETTINGS[model].items()}


@pytest.mark.parametrize("model", DEPTH)
def test_every_method_has_settings_within_the_models_depth(model):
    assert set(SETTINGS[model]) >= NAMES
    for name, entry in SETTINGS[model].items():
        assert max(parse_variant(entry).edit.layers) < DEPTH[model], name


@pytest.mark.parametrize("model", DEPTH)
def test_mose_is_as_published(model):
    mose = parse_variant(SETTINGS[model]["mose"]).options
    assert (mose.side, mose.targets, mose.memory) == ("output", "free", "none")


def test_a_model_of_a_known_size_is_not_said_to_be_untuned():
    shape = FILES["smollm2-135m"]["shape"]
    blocks, parameters = shape["blocks"], shape["parameters"]
    others = settings.choose("memit", {})
    said = others.says(blocks, parameters)
    assert said.endswith("those of smollm2-135m, which has as many blocks and parameters")
    assert "not tuned" in others.says(blocks + 1, parameters)
