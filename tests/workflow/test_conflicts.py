"""Every request edited again to another object, by real Snakemake."""

import json
import math

import pandas as pd
import pytest
import tiny
from project import METHODS, Project, check

from mose.report import tables
from mose.storage import files
from mose.storage.records import read_jsonl

CHANGED = {
    "experiment": "conflicts",
    "methods": {"memit": METHODS["memit"]},
    "edits": {"total": 4, "batch": 1, "checkpoint": 2, "conflicts": 1.0},
}


def test_pairs_are_judged_and_replaced_requests_do_not_count(tmp_path):
    project = Project(tmp_path)
    facts = [
        {**record, "relation": "capital"}
        for record in json.loads((tmp_path / "facts.json").read_text())
    ]
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    done = project.run("--", "results/conflicts/summary.csv", **CHANGED)
    check(done)
    results = tmp_path / "results" / "conflicts"
    (path,) = results.glob("tiny/capitals/seed0/requests.jsonl")
    order = read_jsonl(path)
    assert [one["id"] for one in order[2:4]] == [f"{one['id']}#2" for one in order[:2]]
    capitals = {capital for _, capital in tiny.FACTS}
    for earlier, later in zip(order[:2], order[2:4], strict=True):
        assert later["target_new"] in capitals - {earlier["target_new"], earlier["target_true"]}
    report = files.read_json(path.with_name("requests_report.json"))
    assert report["conflicts"] == len(order) - report["requests"]

    summary = tables.read(results / "summary.csv").set_index("edits")
    (path,) = results.glob("tiny/capitals/memit/seed0/scores4.csv")
    rows = pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)
    edit = rows[rows.kind == "edit"].set_index("order")
    counts = dict.fromkeys(("later", "earlier", "neither"), 0)
    for place in (0, 1):
        shares = {
            "earlier": math.exp(edit.logprob_new[place]),
            "later": math.exp(edit.logprob_new[place + 2]),
        }
        shares["neither"] = 1 - sum(shares.values())
        counts[max(shares, key=shares.get)] += 1
    for name, count in counts.items():
        assert summary.loc[4, f"conflict_{name}"] == count / 2
        assert math.isnan(summary.loc[2, f"conflict_{name}"])
    right = edit.right_new / edit.tokens_new
    assert summary.loc[4, "reliability"] == pytest.approx(right[[2, 3]].mean())
    (path,) = results.glob("tiny/capitals/memit/seed0/scores2.csv")
    rows = pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)
    edit = rows[rows.kind == "edit"]
    right = edit.right_new / edit.tokens_new
    assert summary.loc[2, "reliability"] == pytest.approx(right.mean())
