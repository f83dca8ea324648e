"""Entries of `methods:`: scans, settings of a model's file, labels and ends."""

import re
from pathlib import Path

import pytest
import yaml
from experiments import GOOD, changed

from mose.errors import ConfigError
from mose.experiment import config
from mose.methods.register import METHODS, files_of, parse_variant
from mose.validation.strict import NAME

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_variant_survives_being_written_out():
    variant = parse_variant(GOOD["methods"]["a"])
    assert parse_variant(variant.as_dict()) == variant
    assert variant.as_dict()["lambda"] == 100


def test_a_scan_is_one_variant_for_every_combination():
    entry = {
        "method": "memit", "learning_rate": 0.1,
        "scan": {"lambda": [30, 0.5], "layers": [[4, 5], [6]], "clamp": [0.75]},
    }  # fmt: skip
    _, models = config.read_experiment(changed("methods", {"memit": entry}))
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
    _, models = config.read_experiment({**made, "models": [str(path)]})
    options_found = models["mine"].variants["m"].edit
    assert (options_found.retention_weight, options_found.learning_rate) == (5, 0.3)
    made = changed("methods", {"m": {"settings": "lost"}})
    with pytest.raises(ConfigError, match=r"methods.m.settings: .* no 'lost'; known are found"):
        config.read_experiment({**made, "models": [str(path)]})


@pytest.mark.parametrize(
    ("entry", "settings", "message"),
    [
        (
            {**GOOD["methods"]["a"], "scan": {"lambda": [1, -1]}},
            {},
            "methods.a.lambda: found -1, expected a number above 0",
        ),
        (
            {**GOOD["methods"]["a"], "scan": {"side": ["output", "../x"]}},
            {},
            "methods.a.side: found '../x', expected output, input or both",
        ),
        (
            {"settings": "s"},
            {"s": {"method": "rect", "layers": [3], "lambda": 1, "learning_rate": 1,
                   "kept_share": 3}},
            "mine.yaml: methods.s.kept_share: found 3, expected a number above 0 and of at most 1",
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
        config.read_experiment(made)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_one_of_the_entry_that_lacks_it(tmp_path):
    path = tmp_path / "mine.yaml"
    settings = {"s": {"method": "memit", "lambda": 1, "learning_rate": 1}}
    path.write_text(yaml.safe_dump({"source": {"local": "x"}, "methods": settings}))
    made = {**changed("methods", {"a": {"settings": "s"}}), "models": [str(path)]}
    with pytest.raises(
        ConfigError, match=r"config: methods\.a: missing key 'layers', expected a li"
    ):
        config.read_experiment(made)


def test_a_number_stays_as_it_is_written():
    entry = {"method": "memit", "layers": [1], "lambda": 1, "learning_rate": 1.0, "clamp": 3}
    written = parse_variant(entry).as_dict()
    for key, value in entry.items():
        assert written[key] == value
        assert type(written[key]) is type(value)


def test_two_variants_of_one_label_are_refused():
    entry = GOOD["methods"]["a"]
    methods = {"a": {**entry, "scan": {"lambda": [1, 2]}}, "a_lambda2": entry}
    with pytest.raises(ConfigError, match="'a_lambda2' is the label of another variant as well"):
        config.read_experiment(changed("methods", methods))


def test_labels_of_a_scan_can_be_names_of_files():
    entry = {"scan": {"lambda": [1e20, 1e-7, -0.5, 2]}}
    labels = list(config.expand_scan("a", entry))
    assert labels == ["a_lambda1e20", "a_lambda1em07", "a_lambdam0p5", "a_lambda2"]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["nearest", "weighted"], ["a_xnearest", "a_xweighted"]),
        (["two-step", "x y", "../data/f.json"], ["a_xtwomstep", "a_xx-y", "a_xpp-data-fpjson"]),
        ([[0.5, -1], [2]], ["a_x0p5-m1", "a_x2"]),
        ([True, None, {"of": 1}], ["a_xTrue", "a_xNone", "a_x--of---1-"]),
        ([1, 1, 2], ["a_x1", "a_x2"]),
    ],
)
def test_labels_of_texts_are_valid_and_one_for_each(values, labels):
    found = config.expand_scan("a", {"scan": {"x": values}})
    assert list(found) == labels
    for label in labels:
        assert re.fullmatch(NAME, label)


def test_values_that_a_label_does_not_tell_apart_are_refused():
    entry = {**GOOD["methods"]["a"], "scan": {"side": ["x/y", "x y"]}}
    with pytest.raises(ConfigError) as error:
        config.read_experiment(changed("methods", {"a": entry}))
    assert str(error.value) == (
        "config: methods.a.scan: 'x/y' and 'x y' of side would both have the label 'a_sidex-y'; "
        "make an entry of its own for one of them"
    )


def test_a_variant_names_the_files_that_define_it():
    entry = {"method": "sphere", "base": "encore", "layers": [3], "lambda": 1, "learning_rate": 0.1}
    files = files_of(parse_variant(entry))
    assert files == [f"mose/methods/{name}.py" for name in ("sphere", "encore")]
    for method in METHODS.values():
        assert (ROOT / f"{method.editor.partition(':')[0].replace('.', '/')}.py").is_file()


def test_methods_end_with_the_experiment_or_where_they_say():
    entries = {
        "a": {"method": "memit"},
        "b": {"method": "memit", "until": 200, "scan": {"lambda": [1, 2]}},
        "c": {"method": "memit", "until": 900},
    }
    assert config.sequence_ends(entries, 600) == {
        "a": 600, "b_lambda1": 200, "b_lambda2": 200, "c": 600
    }  # fmt: skip
