"""The generated files are what the models say now, and editors' schemas agree with the check."""

import re
from pathlib import Path

import jsonschema
import pytest

from mose.experiment import reference
from mose.methods import options
from mose.methods.register import METHODS, keys_of
from mose.storage.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
FILES = reference.files()
CONFIGS = sorted((ROOT / "config").rglob("*.yaml"))
DEMO = read_yaml(ROOT / "config" / "demo.yaml")


def name_of(path):
    return str(path.relative_to(ROOT / "config"))


@pytest.mark.parametrize("path", FILES)
def test_what_is_written_is_what_the_models_say(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert text == FILES[path], "run `make reference`"


def test_no_schema_is_left_that_nothing_writes():
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "workflow" / "schemas").iterdir()}
    assert kept == {path for path in FILES if path.startswith("workflow/")}


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_file_names_a_schema_that_accepts_it(path):
    first = path.read_text().splitlines()[0]
    (named,) = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first).groups()
    schema = read_yaml(path.parent / named)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(read_yaml(path))


@pytest.mark.parametrize(
    "changed",
    [
        {"editz": {}},
        {"edits": {"total": 40, "bach": 1}},
        {"edits": {"total": "40"}},
        {"device": "gpu"},
        {"methods": {"a": {"method": "mosey"}}},
        {"methods": {"a": {"method": "memit", "stepp": 1}}},
        {"methods": {"a": {"method": "memit", "lambda": 0}}},
        {"methods": {"a": {"method": "memit", "clamp": "x"}}},
        {"tasks": {"a": {"kind": "choise"}}},
        {"corpus": {"source": {"url": "x"}}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_check_refuses(changed):
    schema = reference.experiment_schema()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**DEMO, **changed}, schema)


def test_every_option_is_described_for_every_method():
    page = FILES["docs/config.md"].partition("## Methods")[2].partition("## Tasks")[0]
    sections = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", page, re.MULTILINE | re.DOTALL))
    described = {}
    for heading, text in sections.items():
        for method in re.findall(r"`(.*?)`", heading):
            described[method] = re.findall(r"^\| `(.*?)` \|.*\S \|$", text, re.MULTILINE)
    assert described == {name: keys_of(method.options) for name, method in METHODS.items()}


def test_what_a_wrapper_may_wrap_are_the_additive_methods():
    entry = reference.experiment_schema()["$defs"]["MethodEntry"]["properties"]
    additive = [n for n, m in METHODS.items() if issubclass(m.options, options.AdditiveOptions)]
    assert set(entry["base"]["enum"]) == set(additive)
