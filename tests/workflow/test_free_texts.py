"""Records with questions about instances, kinds of portability and reference texts, by real
Snakemake, and edit prompts behind text: every such score is in the tables, beside what was left
out."""

import json

import pandas as pd
import pytest
import tiny
from project import METHODS, Project, check

from mose.evaluation.fluency import Tfidf, fluency
from mose.report import tables
from mose.storage import files
from mose.storage.records import read_jsonl

MEASURED = {
    **{"fluency": 3, "fluency_tokens": 12, "consistency": True},
    **{"prefixed": 3, "prefix_tokens": 8},
}
CHANGED = {
    "experiment": "texts",
    "methods": {"memit": METHODS["memit"]},
    "edits": {"total": 4, "batch": 2, "checkpoint": 2},
}


def records():
    return [
        {
            "id": country,
            "subject": country,
            "prompt": "The capital of {} is",
            "target_new": tiny.FACTS[(i + 5) % 12][1],
            "target_true": capital,
            "locality": [{"prompt": "The capital of Peru is", "target": "Lima"}] * 2,
            "portability": [
                {
                    "prompt": f"Who rules {capital}? The king of",
                    "target": "Rome",
                    "kind": "Reasoning",
                }
            ],
            "instances": [f"Whether {capital} belongs to category city?"] * 3,
            "generation": ["People of {} meet in", "The city that rules {} is"],
            "references": [f"The capital of {country} is {capital}."] if i % 2 else [],
        }
        for i, (country, capital) in enumerate(tiny.FACTS[:6])
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("texts"))
    (project.folder / "facts.json").write_text(json.dumps(records()))
    done = project.run(**CHANGED, measure=MEASURED)
    check(done)
    return project.folder / "results" / "texts"


def test_fluency_and_consistency_are_of_the_texts_that_were_written(finished):
    metrics = tables.read(finished / "metrics.csv").query("when == 'retention' and edits == 4")
    (path,) = finished.glob("tiny/capitals/memit/seed0/scores4.csv")
    rows = pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)
    texts = rows[rows.kind == "text"].set_index(["request", "prompt"])["generated"]
    assert len(texts) == 3 * 2
    found = metrics[metrics.metric == "fluency"].set_index(["request", "prompt"])["value"]
    assert found.to_dict() == pytest.approx({key: fluency(text) for key, text in texts.items()})
    references = {r["id"]: " ".join(r["references"]) for r in records() if r["references"]}
    (asked,) = finished.glob("tiny/capitals/seed0/requests.jsonl")
    drawn = [record["id"] for record in read_jsonl(asked)]
    weights = Tfidf(references[name] for name in drawn if name in references)
    consistency = metrics[metrics.metric == "consistency"].set_index("request")["value"]
    assert set(consistency.index) == set(texts.index.get_level_values(0)) & set(references)
    for name, value in consistency.items():
        expected = weights.similarity(" ".join(texts[name]), references[name])
        assert value == pytest.approx(expected)


def test_prompts_behind_text_are_in_the_summary(finished):
    summary = tables.read(finished / "summary.csv").set_index("edits")
    for edits, pattern in ((0, "unedited/seed0/scores*.csv"), (4, "memit/seed0/scores4.csv")):
        rows = pd.concat(
            pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)
            for path in finished.glob(f"tiny/capitals/{pattern}")
        )
        behind = rows[rows.kind == "prefixed"]
        # On the unedited model, each segment of two asks both.
        assert len(behind) == {0: 4, 4: 3}[edits]
        shares = behind.right_new / behind.tokens_new
        assert summary.loc[edits, "prefixed_reliability"] == pytest.approx(shares.mean())
        likelier = behind.logprob_new / behind.tokens_new > behind.logprob_true / behind.tokens_true
        assert summary.loc[edits, "prefixed_efficacy"] == pytest.approx(likelier.mean())


def test_instances_are_asked_about_and_what_is_left_out_is_told(finished):
    means = tables.read(finished / "means.csv").query("when == 'retention'")
    asked = means[means.metric.str.startswith("instance_")].set_index(["edits", "metric"])
    assert (asked.loc[4, "requests"] == 4).all()
    assert asked.loc[(0, "instance_change"), "mean"] == 0.0
    change = asked.loc[(4, "instance_change"), "mean"]
    assert -1.0 <= change <= 1.0
    # Four requests, three with texts: one is left out.
    fluent = means.query("edits == 4 and metric == 'fluency'")
    assert fluent[["requests", "left_out"]].to_numpy().tolist() == [[3, 1]]
    # neighbours: 1, of two locality prompts and three questions.
    (path,) = finished.glob("tiny/capitals/seed0/requests_report.json")
    report = files.read_json(path)
    assert report["prompts_left_out"] == {"locality": 6, "instances": 12}
    assert report["left_out_by_request"]["France"] == {
        "locality": 1, "instances": 2,
    }  # fmt: skip
    facts = files.read_json(finished / "tiny" / "capitals" / "facts_report.json")
    assert facts["prompts"]["references"] == 3


def test_figures_of_what_there_is_are_drawn(finished):
    figures = finished / "figures" / "tiny" / "capitals"
    for name in ("forgetting_curves", "portability/by_kind"):
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_data_without_reference_texts_are_refused_before_anything_is_edited(tmp_path):
    project = Project(tmp_path)
    done = project.run(**CHANGED, measure=MEASURED)
    assert done.returncode != 0
    (log,) = tmp_path.glob("results/logs/facts/*.log")
    assert "error: facts.json: measure.consistency compares with reference texts" in log.read_text()
    assert not list(tmp_path.glob("results/texts/**/*.h5"))


def test_comparing_with_references_or_not_is_no_reason_to_edit_again(finished):
    project = Project(finished.parents[1])
    planned = project.planned(**CHANGED, measure={**MEASURED, "consistency": False})
    assert planned.pop("total") == sum(planned.values())
    assert planned == dict.fromkeys(
        ("enough_requests", "tables", "figures", "report_page", "all"), 1
    )


def test_data_that_were_read_before_they_had_to_have_reference_texts_are_refused(tmp_path):
    project = Project(tmp_path)
    enough = "results/texts/tiny/capitals/seed0/enough_requests4.txt"
    check(project.run("--", enough, **CHANGED))
    done = project.run("--", enough, **CHANGED, measure=MEASURED)
    assert done.returncode != 0
    (log,) = tmp_path.glob("results/logs/requests/*.enough4.log")
    expected = "error: datasets.capitals: measure.consistency compares with reference texts"
    assert expected in log.read_text()
