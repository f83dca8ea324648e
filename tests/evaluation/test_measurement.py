"""Which requests a checkpoint scores, what the model knows, and a perplexity beyond all numbers."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny

from mose.errors import ConfigError
from mose.evaluation import knowledge, measurement, prompt_scores
from mose.evaluation.measurement import Selection
from mose.evaluation.prompt_scores import TargetScore
from mose.experiment import gather
from mose.facts import drawing
from mose.facts.requests import Fact
from mose.report import prompt_metrics, tables
from mose.storage import hdf5


def requests_of(count):
    return [SimpleNamespace(id=f"r{i}") for i in range(count)]


def test_without_a_sample_all_requests_of_the_span_are_scored():
    requests = requests_of(8)
    assert Selection(0, 6).scored(requests) == [0, 1, 2, 3, 4, 5]
    assert Selection(4, 6).scored(requests) == [4, 5]
    nothing = Selection(0, 6)
    assert nothing.answered(requests) == frozenset()
    assert nothing.continued(requests) == []


def test_of_earlier_requests_a_sample_is_scored_and_the_recent_ones_are_all():
    requests = requests_of(30)
    places = Selection(0, 20, earlier=3, recent_from=15).scored(requests)
    assert places[3:] == [15, 16, 17, 18, 19]
    assert places[:3] == drawing.sample(requests[:15], 3)
    # At a later checkpoint those of the same requests that are chosen again.
    later = Selection(0, 30, earlier=3, recent_from=25).scored(requests)
    assert {place for place in later[:3] if place < 15} <= set(places[:3])


def test_texts_are_of_scored_requests_only():
    requests = requests_of(30)
    selection = Selection(0, 20, earlier=2, recent_from=15, generate=4, fluency=6)
    assert selection.answered(requests) == frozenset(drawing.sample(requests[:20], 4))
    scored = set(selection.scored(requests))
    drawn = drawing.sample(requests[:20], 6)
    assert selection.continued(requests) == [i for i in drawn if i in scored]
    assert len(selection.continued(requests)) < 6


def test_a_selection_beyond_the_order_is_refused(llama):
    with pytest.raises(ConfigError, match=r"asks for 9 edits and r\.jsonl holds 3"):
        measurement.score_selection(llama, requests_of(3), Selection(0, 9), "r.jsonl")


def test_rows_are_those_of_the_scores_and_then_of_the_texts(llama, requests):
    selection = Selection(0, 3, earlier=1, recent_from=2, fluency=3, fluency_tokens=4)
    rows = measurement.score_selection(llama, requests, selection, "r.jsonl")
    scored = [row for row in rows if row["kind"] != "text"]
    places = selection.scored(requests)
    assert scored == prompt_scores.score_requests(llama, [requests[i] for i in places], places)
    assert {row["order"] for row in rows if row["kind"] == "text"} == set(places)


@pytest.mark.parametrize("nll", [2.5, 699.0, 701.0])
def test_a_perplexity_that_overflows_is_infinite(nll, llama, tmp_path, monkeypatch):
    path = tmp_path / "heldout.h5"
    windows = np.zeros((2, 4), dtype=np.int32)
    hdf5.write(path, "windows", {"ids": windows}, {"model": llama.fingerprint})
    monkeypatch.setattr(prompt_scores, "perplexity", lambda lm, ids: (ids.size - 2, nll))
    row = measurement.perplexity_row(llama, path)
    assert row["tokens"] == 6
    assert row["nll"] == nll
    assert row["perplexity"] == (math.inf if nll > 700 else math.exp(nll))


def test_a_fact_is_known_if_every_token_of_its_object_is_predicted(monkeypatch):
    facts = [
        Fact(id=name, subject="Peru", prompt="The capital of {} is", target_true=true)
        for name, true in {"all": "Lima", "one": "Nairobi", "none": "Rome", "empty": ""}.items()
    ]
    counts = {"Lima": (2, 2), "Nairobi": (2, 1), "Rome": (1, 0), "": (0, 0)}

    def scores(_lm, pairs):
        assert {prompt for prompt, _ in pairs} == {"The capital of Peru is"}
        return [TargetScore(*counts[target], logprob=-1.0, predicted=()) for _, target in pairs]

    monkeypatch.setattr(prompt_scores, "score_targets", scores)
    marked = knowledge.mark_known(None, facts)
    assert {fact.id: fact.known for fact in marked} == {
        "all": True, "one": False, "none": False, "empty": False,
    }  # fmt: skip
    assert [replace(fact, known=None) for fact in marked] == facts


def test_a_model_that_gives_no_numbers_has_failed_every_request(requests, tmp_path):
    """As a weight that overflows float16 does. Its rows pass through their file like any other."""
    unedited, broken = tiny.model(), tiny.model()
    broken.weight(1)[0, 0] = math.inf
    frames = []
    for name, lm in (("unedited", unedited), ("scores", broken)):
        rows = measurement.score_selection(lm, requests, Selection(0, 6), "r.jsonl")
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
        frames.append(gather.read_scores(tmp_path / f"{name}.csv"))
    before, after = frames
    metrics = prompt_metrics.score_metrics(after, before)
    means = metrics.groupby("metric")["value"].agg(["mean", "count"])
    asked = prompt_metrics.score_metrics(before, before).groupby("metric")["value"].size()
    for name in tables.SCORES:
        assert means.loc[name, "mean"] == 0.0, name
        assert means.loc[name, "count"] == asked[name], "no request is left out"
    path = tmp_path / "heldout.h5"
    windows = np.arange(8, dtype=np.int32).reshape(2, 4)
    hdf5.write(path, "windows", {"ids": windows}, {"model": broken.fingerprint})
    assert measurement.perplexity_row(broken, path)["perplexity"] == math.inf


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ("generate", "generated_tokens"),
        ("fluency", "fluency_tokens"),
        ("prefixed", "prefix_tokens"),
    ],
)
def test_texts_longer_than_the_context_are_refused_by_their_key(llama, requests, asked, tokens):
    long = llama.context_length + 1
    assert measurement.score_selection(
        llama, requests, Selection(0, 1, **{tokens: long}), "r.jsonl"
    )
    selection = Selection(0, 1, **{asked: 1, tokens: long})
    with pytest.raises(
        ConfigError, match=rf"measure\.{tokens}: found {long} tokens, the model tak"
    ):
        measurement.score_selection(llama, requests, selection, "r.jsonl")
