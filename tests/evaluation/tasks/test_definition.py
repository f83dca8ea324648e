"""What a task may say, and that every key of the schema is one of the library's."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from mose.errors import ConfigError
from mose.evaluation.tasks.definition import GENERATED, Task, parse_task
from mose.experiment import config

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "workflow" / "schemas"
CHOICE = {
    "kind": "choice",
    "source": {"file": "x.jsonl"},
    "prompt": "{q}",
    "choices": ["yes", "no"],
    "label": "l",
}
TEXT = {"kind": "perplexity", "source": {"file": "x.txt"}, "window": 16, "stride": 8}


def read(monkeypatch, **changed):
    monkeypatch.chdir(ROOT)
    demo = config.read_yaml("config/demo.yaml")
    return config.read_experiment({**demo, **changed}, SCHEMAS)


def test_the_schema_and_the_library_know_the_same_keys():
    schema = yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())
    properties = schema["$defs"]["task"]["properties"]
    assert set(properties) == {f.name for f in dataclasses.fields(Task)} | {"task"}
    assert tuple(properties["metrics"]["items"]["enum"]) == GENERATED


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config/tasks").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_tasks_of_the_field_can_be_named(monkeypatch, path):
    filled, _ = read(monkeypatch, tasks={"a": path.stem, "b": {"task": path.stem, "samples": 7}})
    assert filled["tasks"]["a"]["samples"] == 100
    assert filled["tasks"]["b"] == {**filled["tasks"]["a"], "samples": 7}
    assert parse_task(filled["tasks"]["a"], "").as_dict() == filled["tasks"]["a"]


def test_label_0_of_inference_is_entailment(monkeypatch):
    filled, _ = read(monkeypatch, tasks={"rte": "rte", "inference": "inference"})
    for task in filled["tasks"].values():
        assert task["choices"] == ("True", "False")
        assert task["labels"] == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tasks": {"a": "none.yaml"}}, "none.yaml: no such file"),
        ({"tasks": {"a": {**TEXT, "kind": "choise"}}}, "tasks.a.kind: found 'choise'"),
        ({"tasks": {"a": {"kind": "choice"}}}, "tasks.a: a task of kind choice needs 'source'"),
        ({"tasks": {"a": {**TEXT, "strid": 3}}}, "did you mean 'stride'"),
        ({"tasks": {"a": {**TEXT, "stride": 16}}}, "tasks.a.stride: 16 must be less than window"),
        ({"tasks": {"mean": TEXT}}, "mean"),
        ({"tasks": {"a": {**CHOICE, "headline": "rouge"}}}, "tasks.a.headline: found 'rouge'"),
        ({"tasks": {"a": {**CHOICE, "source": {}}}}, "needs 'source'"),
        ({"tasks": {"a": {**CHOICE, "source": {"part": "tuning"}}}}, "expected one of file, hub"),
        (
            {"tasks": {"a": {"kind": "harness", "harness": {"task": "t"}}}},
            "needs 'headline'",
        ),
        (
            {"edits": {"total": 4, "batch": 1, "checkpoint": 2, "tasks_every": 3}},
            "edits.tasks_every (3) must be a multiple",
        ),
        (
            {"edits": {"total": 4, "batch": 1, "checkpoint": 2, "tasks_every": 6}},
            "at most edits.total (4)",
        ),
        (
            {"datasets": {"own": {"source": "builtin"}}, "tasks": {"facts": "facts"}},
            "set datasets.own.part: evaluation",
        ),
    ],
)
def test_a_mistake_is_named(monkeypatch, changed, message):
    with pytest.raises(ConfigError, match=r".") as error:
        read(monkeypatch, **changed)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
