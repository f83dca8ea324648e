"""lm-evaluation-harness on a loaded model; with the extra only."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import yaml

from mose.errors import ConfigError, ExtraMissing
from mose.evaluation.tasks import harness, items, records, scoring
from mose.evaluation.tasks.definition import parse_task
from mose.storage import yaml_files

ROOT = Path(__file__).parents[3]


def task(folder, headline="acc", name="ours"):
    entry = {"kind": "harness", "harness": {"task": name, "folder": str(folder)}}
    entry = {**entry, "headline": headline, "samples": 40}
    return items.Prepared("theirs", parse_task(entry, "tasks.theirs"), "")


def prepared(**changed):
    entry = {
        "kind": "choice", "source": {"builtin": "sentiment"}, "prompt": "Review: {sentence} It is",
        "choices": ["negative", "positive"], "label": "label", "samples": 40,
    }  # fmt: skip
    return items.prepare("ours", parse_task({**entry, **changed}, "tasks.ours"))


@pytest.fixture
def folder(tmp_path):
    """The same items as a task file of the harness."""
    lines = [
        {"prompt": item.prompt, "choices": item.choices, "label": item.label}
        for item in prepared().items
    ]
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = {
        "task": "ours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("acc", "acc_norm")
        ],
    }
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(entry))
    return tmp_path


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'mose\[harness\]'"):
        harness.evaluate(tiny.model(), task("."))


def test_it_is_imported_by_nothing_else():
    code = "import sys, mose.evaluation.tasks.harness; sys.exit('lm_eval' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.filterwarnings("ignore")
def test_its_scores_of_every_item_are_ours(folder, monkeypatch, tmp_path):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    lm = tiny.model("llama")
    theirs = harness.evaluate(lm, task(folder))
    ours = scoring.evaluate(lm, prepared())
    own = {(row["item"], row["metric"]): row["value"] for row in ours.rows}
    places = [item.item for item in prepared().items]
    found = {(places[row["item"]], row["metric"]): row["value"] for row in theirs.rows}
    assert len(found) == 80
    for item in places:
        assert found[item, "acc"] == own[item, "correct"]
        assert found[item, "acc_norm"] == own[item, "correct_norm"]
    assert len(records.builtin("sentiment")) > len(places)
    with pytest.raises(ConfigError, match="no task 'other'; known are ours"):
        harness.evaluate(lm, task(folder, name="other"))
    with pytest.raises(
        ConfigError, match=r"theirs.headline: ours has no 'f1'; it has acc, acc_norm"
    ):
        harness.evaluate(lm, task(folder, "f1"))


def compare_log_likelihoods(lm, made):
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    from lm_eval.api.instance import Instance

    wrapped = huggingface.HFLM(
        pretrained=lm.model, tokenizer=lm.tokenizer, device="cpu", batch_size=8
    )
    pairs = [(item.prompt, f" {choice}") for item in made.items for choice in item.choices]
    asked = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    theirs = iter(wrapped.loglikelihood(asked, disable_tqdm=True))
    own = {(r["item"], r["metric"]): r["value"] for r in scoring.evaluate(lm, made).rows}
    for item in made.items:
        for i in range(len(item.choices)):
            assert own[item.item, f"logprob_{i}"] == pytest.approx(next(theirs)[0], rel=0, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_its_log_likelihoods_are_ours():
    compare_log_likelihoods(tiny.model("llama"), prepared())


@pytest.mark.package
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "file"), [("rte", "rte.tsv"), ("sst2", "sst2.jsonl")])
def test_so_they_are_on_real_tasks_with_a_real_model(real_data, smollm2, name, file):
    pytest.importorskip("lm_eval")
    entry = yaml_files.read_yaml(ROOT / "config" / "tasks" / f"{name}.yaml")
    made = prepared(
        **{**entry, "source": {"file": str(real_data / "tasks" / file)}, "samples": 200}
    )
    assert len(made.items) == 200
    compare_log_likelihoods(smollm2, made)
