"""Experiments with other methods and measurements than the small one, beside its models."""

import pandas as pd
import pytest
import yaml
from project import METHODS, TARGETS, check

from mose.report import tables


def test_of_earlier_requests_a_sample_can_be_scored_and_the_rest_is_counted(whole, tmp_path):
    project = whole.copy(tmp_path)
    changed = {"experiment": "sampled", "methods": {"memit": METHODS["memit"]}}
    done = project.run("--", "results/sampled/means.csv", **changed, measure={"earlier": 1})
    check(done)
    results = project.folder / "results" / "sampled"
    (folder,) = results.glob("tiny/capitals/memit/seed0")
    orders = sorted(pd.read_csv(folder / "scores4.csv")["order"].unique())
    assert len(orders) == 3
    assert orders[1:] == [2, 3], "the checkpoint's own segment is whole"
    means = tables.read(results / "means.csv")
    own = means.query("edits == 4 and when == 'retention' and metric == 'reliability'")
    assert own[["requests", "left_out"]].to_numpy().tolist() == [[3, 1]]


def test_trained_wrapped_projected_and_scanned_methods_go_through_the_same_stages(whole, tmp_path):
    project = whole.copy(tmp_path)
    memit = METHODS["memit"]
    methods = {
        "ft": {"method": "ft", "layers": [1], "steps": 3},
        "oft": {"method": "oft", "layers": [1, 2], "steps": 3},
        "prune": {**memit, "method": "prune"},
        "solved-again": {**memit, "memory": "keys", "targets_from": "unedited", "replay": 2},
        "both-sides": {**memit, "method": "mose", "side": "both", "targets_from": "unedited"},
        "rome": {"method": "rome", "layers": [2], **TARGETS},
        "null": {
            "method": "sphere", "base": "alphaedit", "null_space": "energy", "layers": [1, 2],
            **TARGETS,
        },
        "memit": {**memit, "scan": {"lambda": [0.1, 10.0]}},
    }  # fmt: skip
    changed = {
        "experiment": "many",
        "methods": methods,
        "edits": {"total": 2, "batch": 2, "checkpoint": 2},
    }
    done = project.run("--", "all", "scan", **changed)
    check(done)
    results = project.folder / "results" / "many"
    summary = tables.read(results / "summary.csv").query("edits == 2").set_index("method")
    labels = [*list(methods)[:-1], "memit_lambda0p1", "memit_lambda10p0"]
    assert set(summary.index) == set(labels)
    assert summary.loc["oft", "condition_ratio"] == pytest.approx(1, abs=1e-5)
    without = ["model", "dataset", "portability"]  # the data set has no such prompts
    assert not summary.drop(columns=without).isna().any().any()
    attained = tables.read(results / "edit_records.csv").groupby("method")["attained"].count()
    assert sorted(attained[attained == 0].index) == ["ft", "oft"]
    null_space = tables.read(results / "tiny" / "null_space" / "null.csv")
    assert (null_space["rank"] < null_space["width"]).all()
    assert null_space["heldout_share"].between(0, 1).all()
    (shared,) = (results / "tiny/capitals/seed0/targets").iterdir()  # by both that seek them there
    assert [path.name for path in shared.iterdir()] == ["targets2.h5"]
    assert summary.loc["both-sides", "frobenius_ratio"] == pytest.approx(1, abs=1e-5)
    ranked = tables.read(results / "scan.csv")
    assert ranked[ranked.entry == "memit"]["lambda"].tolist() in ([0.1, 10.0], [10.0, 0.1])
    best = yaml.safe_load((results / "best_settings.yaml").read_text())["tiny, capitals"]
    chosen = ranked[(ranked.entry == "memit") & (ranked["rank"] == 1)]["lambda"].item()
    assert best["memit"]["lambda"] == chosen
    assert set(best) == set(methods)
