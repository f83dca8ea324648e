"""What a task may say."""

from pathlib import Path

import pytest

from mose.errors import ConfigError
from mose.evaluation.tasks.definition import parse_task
from mose.experiment import config
from mose.storage import yaml_files

ROOT = Path(__file__).parents[3]
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
    demo = yaml_files.read_yaml("config/demo.yaml")
    return config.read_experiment({**demo, **changed})


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
        ({"tasks": {"mean": TEXT}}, "tasks: found 'mean', expected a name"),
        ({"tasks": {"a": {**CHOICE, "headline": "rouge"}}}, "tasks.a.headline: found 'rouge'"),
        ({"tasks": {"a": {**CHOICE, "source": {}}}}, "needs 'source'"),
        ({"tasks": {"a": {**CHOICE, "source": {"part": "tuning"}}}}, "expected one of file, hub"),
        ({"tasks": {"a": 3}}, "tasks.a: found 3, expected keys with values"),
        ({"tasks": {"a": {"task": 3}}}, "tasks.a.task: found 3, expected a name or the path"),
        ({"tasks": {"a": {**TEXT, "window": "16"}}}, "tasks.a.window: found '16' (text), expected"),
        ({"tasks": {"a": {**TEXT, "samples": 0}}}, "tasks.a.samples: found 0, expected a whole"),
        (
            {"tasks": {"a": {**CHOICE, "source": {"builtin": "sentimnt"}}}},
            "tasks.a.source.builtin: found 'sentimnt', expected sentiment, inference or facts; did",
        ),
        ({"tasks": {"a": {**CHOICE, "source": {"fil": "x"}}}}, "tasks.a.source: unknown key 'fil'"),
        ({"tasks": {"a": {**CHOICE, "choices": ["x"]}}}, "tasks.a.choices: found one ('x'), expec"),
        (
            {"tasks": {"a": {**CHOICE, "kind": "generate", "answer": "a", "metrics": ["rouge3"]}}},
            "tasks.a.metrics[0]: found 'rouge3', expected exact_match, contains, token_f1,",
        ),
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
