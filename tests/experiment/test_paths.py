"""Paths of a run: patterns for the rules, whole paths for programs, one place for both."""

import re
from pathlib import Path

import pytest

from mose.experiment import paths
from mose.experiment.paths import Paths, fill, numbers_of, spans
from mose.experiment.runs import Runs

ROOT = Path(__file__).parents[2]
RUN = {"model": "m", "dataset": "d", "method": "a", "seed": 0}


def test_a_path_is_a_pattern_until_its_wildcards_are_known():
    pattern = "results/{experiment}/{model}/{dataset}/{method}/seed{seed}/edits{n}.h5"
    assert Paths().checkpoint == Paths.checkpoint == pattern
    some = Paths(experiment="e", model="m")
    assert some.checkpoint == "results/e/m/{dataset}/{method}/seed{seed}/edits{n}.h5"
    whole = some.at(**RUN, n=20)
    assert whole.checkpoint == "results/e/m/d/a/seed0/edits20.h5"
    assert whole.at(n=40).checkpoint == "results/e/m/d/a/seed0/edits40.h5"
    assert whole.manifest == "results/models/m/manifest.json"


def test_no_two_files_of_an_experiment_share_a_path():
    known = {
        **RUN, "experiment": "e", "corpus": "c", "part": "windows1", "shard": 0, "layers": "1",
        "n": 2, "targets": "g", "task": "t", "table": "x", "figure": "f", "kind": "pdf",
        "entry": "y", "digest": "0",
    }  # fmt: skip
    filled = [fill(pattern, **known) for _, pattern in paths.patterns()]
    assert len(filled) > 30
    assert len(set(filled)) == len(filled)
    assert not [path for path in filled if "{" in path]


def test_what_is_so_far_is_beside_what_is_whole():
    so_far = Paths(experiment="e").so_far().at(table="summary", model="m", dataset="d")
    assert so_far.table == "results/e/so_far/summary.csv"
    assert (
        so_far.at(figure="shares", kind="png").figure == "results/e/so_far/figures/m/d/shares.png"
    )
    # What is measured is where it was.
    assert so_far.scores == Paths(experiment="e", model="m", dataset="d").scores


def test_every_rule_has_a_name_for_its_jobs():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert set(re.findall(r'paths\.log\("(\w+)"\)', rules)) == paths.JOBS.keys()
    at = Paths(experiment="e", **RUN, n=2)
    assert at.log("edit") == "results/logs/edit/e.m.d.a.0.2.log"
    assert at.benchmark("edit") == "results/benchmarks/edit/e.m.d.a.0.2.tsv"


def test_no_rule_and_no_program_builds_a_path_of_its_own():
    sources = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    sources += [*(ROOT / "scripts").glob("*.py"), *(ROOT / "mose").rglob("*.py")]
    for source in sources:
        if source.name == "paths.py":
            continue
        text = re.sub(r'""".*?"""', "", source.read_text(), flags=re.DOTALL)
        assert not re.search(r'["\']results/', text), source


@pytest.mark.parametrize(
    ("numbers", "text"), [([6], "6"), ([4, 5, 6], "4-6"), ([1, 3, 4, 9], "1_3-4_9")]
)
def test_layers_are_part_of_a_name(numbers, text):
    assert spans(numbers) == text
    assert numbers_of(text) == numbers


def test_runs_come_in_the_config_s_order():
    text = """{"experiment": "e", "models": ["m"], "datasets": ["d"], "methods": ["b", "a"],
               "seeds": [1, 0], "checkpoints": [2]}"""
    runs = Runs.parse(text)
    assert [(i["method"], i["seed"]) for i in runs.identities()] == [
        ("b", 1), ("b", 0), ("a", 1), ("a", 0),
    ]  # fmt: skip
    assert runs.paths.at(table="means").table == "results/e/means.csv"
