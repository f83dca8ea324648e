"""Retained ability: against plain loops, and what must hold whatever the numbers are."""

import math

import numpy as np
import pandas as pd
import pytest

from mose.errors import RequestError
from mose.report import abilities

RUN = {"model": "m", "dataset": "d", "method": "memit", "seed": 0, "edits": 20}


def choice_rows(labels, choices, task="t"):
    rows = []
    for item, (label, choice) in enumerate(zip(labels, choices, strict=True)):
        right = float(label == choice)
        values = {
            "label": label, "choice": choice, "correct": right, "choice_norm": choice,
            "correct_norm": right, "margin": 0.5 if right else -0.5,
        }  # fmt: skip
        rows += [(task, "choice", item, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=["task", "kind", "item", "metric", "value"])


def value_rows(kind, task="t", **columns):
    rows = [
        (task, kind, item, metric, float(value))
        for metric, values in columns.items()
        for item, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["task", "kind", "item", "metric", "value"])


def slow_f1(labels, choices):
    """scikit-learn's f1_score(average="weighted"), written out."""
    total = 0.0
    for c in set(labels):
        hits = sum(a == b == c for a, b in zip(labels, choices, strict=True))
        f1 = 2 * hits / (labels.count(c) + choices.count(c)) if hits else 0.0
        total += f1 * labels.count(c)
    return total / len(labels)


def table_of(edited, unedited, headline, **options):
    task = edited["task"].iloc[0]
    made = abilities.abilities([(RUN, edited, unedited)], {task: headline}, **options)
    return made.set_index(["task", "metric"])


@pytest.fixture
def answers():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 80)
    before = np.where(rng.random(80) < 0.8, labels, rng.integers(0, 3, 80))
    after = np.where(rng.random(80) < 0.9, before, rng.integers(0, 3, 80))
    return labels.tolist(), before.tolist(), after.tolist()


def test_accuracy_f1_and_shares_are_what_they_are_called(answers):
    labels, before, after = answers
    found = table_of(choice_rows(labels, after), choice_rows(labels, before), "accuracy")
    value = found["value"].xs("t")
    assert value["accuracy"] == np.mean(np.equal(labels, after))
    assert value["f1"] == pytest.approx(slow_f1(labels, after))
    assert found["unedited"]["t", "f1"] == pytest.approx(slow_f1(labels, before))
    assert value["top_share"] == max(map(after.count, set(after))) / 80
    assert value["degenerate"] == 0.0
    wrong = np.mean(np.where(np.equal(labels, after), 0.5, -0.5))
    assert value["margin"] == pytest.approx(wrong)
    one = table_of(choice_rows(labels, [1] * 80), choice_rows(labels, before), "accuracy")
    assert one["value"]["t", "degenerate"] == one["value"]["t", "top_share"] == 1.0


def test_retained_ability_is_the_ratio_in_percent(answers):
    labels, before, after = answers
    found = table_of(choice_rows(labels, after), choice_rows(labels, before), "f1")
    ratio = 100 * slow_f1(labels, after) / slow_f1(labels, before)
    assert found["retained"]["t", "f1"] == pytest.approx(ratio)
    assert found["retained"]["mean", "retained"] == pytest.approx(ratio)
    assert found["items"]["t", "f1"] == 80
    assert np.isnan(found["retained"]["t", "accuracy"]), "one metric of a task counts"


def test_a_model_retains_all_of_its_own_ability_without_any_doubt(answers):
    labels, before, _ = answers
    same = choice_rows(labels, before)
    found = table_of(same, same, "accuracy").loc[("t", "accuracy")]
    assert found[["retained", "retained_low", "retained_high"]].tolist() == [100.0] * 3
    assert found[["difference", "difference_low", "difference_high"]].tolist() == [0.0] * 3
    assert found["value_low"] < found["value"] < found["value_high"]


def test_the_interval_is_that_of_a_plain_paired_bootstrap(answers):
    labels, before, after = answers
    right, was = np.equal(labels, after), np.equal(labels, before)
    found = table_of(
        choice_rows(labels, after), choice_rows(labels, before), "accuracy", draws=20_000
    ).loc[("t", "accuracy")]
    rng = np.random.default_rng(99)
    picks = [rng.integers(0, 80, 80) for _ in range(20_000)]
    ratios = [100 * right[p].mean() / was[p].mean() for p in picks]
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found["retained_low"] == pytest.approx(low, abs=0.5)
    assert found["retained_high"] == pytest.approx(high, abs=0.5)
    alone = [100 * right[p].mean() / was[q].mean() for p, q in zip(picks, picks[::-1], strict=True)]
    width = np.subtract(*np.quantile(alone, [0.975, 0.025]))
    assert found["retained_high"] - found["retained_low"] < 0.8 * width, "pairs tell more"


def test_perplexity_is_over_tokens_and_less_of_it_is_more_ability():
    now = value_rows("perplexity", nll=[30.0, 8.0, 50.0], tokens=[10, 4, 10])
    was = value_rows("perplexity", nll=[20.0, 8.0, 40.0], tokens=[10, 4, 10])
    found = table_of(now, was, "perplexity").loc[("t", "perplexity")]
    assert found["value"] == pytest.approx(math.exp(88 / 24))
    assert found["retained"] == pytest.approx(100 * math.exp((68 - 88) / 24))
    assert found["retained"] < 100
    broken = value_rows("perplexity", nll=[9e5, 9e5, 9e5], tokens=[10, 4, 10])
    assert table_of(broken, was, "perplexity")["retained"]["t", "perplexity"] == 0.0


def test_the_mean_is_over_tasks_where_a_ratio_exists():
    def both(score, other):
        return pd.concat(
            [
                value_rows("generate", "a", token_f1=score),
                value_rows("generate", "b", token_f1=other),
            ]
        )

    was, now = both([0.5, 1.0], [0.0, 0.0]), both([0.5, 0.7], [0.0, 1.0])
    made = abilities.abilities([(RUN, now, was)], {"a": "token_f1", "b": "token_f1"})
    found = made.set_index(["task", "metric"])
    assert found["retained"]["a", "token_f1"] == pytest.approx(80)
    assert np.isnan(found["retained"]["b", "token_f1"])
    assert found["retained"]["mean", "retained"] == pytest.approx(80)
    assert found["items"]["mean", "retained"] == 1


def test_other_items_are_no_comparison(answers):
    labels, before, _ = answers
    with pytest.raises(RequestError, match="task t: the edited model was asked 79 items"):
        table_of(choice_rows(labels[:-1], before[:-1]), choice_rows(labels, before), "accuracy")


def test_what_is_known_of_all_items_together_only_has_no_interval():
    def rows(value):
        single = pd.DataFrame([("t", "harness", -1, "f1", value)], columns=list("abcde"))
        single.columns = ["task", "kind", "item", "metric", "value"]
        return pd.concat([value_rows("harness", acc=[1.0, 0.0, 1.0]), single])

    found = table_of(rows(0.6), rows(0.8), "f1").loc[("t", "f1")]
    assert found["retained"] == pytest.approx(75)
    assert np.isnan(found["retained_low"])


def test_the_papers_table_has_methods_against_scores(answers):
    labels, before, after = answers
    was = choice_rows(labels, before)
    runs = [
        ({**RUN, "method": method, "seed": seed, "edits": edits}, choice_rows(labels, given), was)
        for method, given in (("memit", after), ("mose", before))
        for seed in (0, 1)
        for edits in (20, 40)
        if (method, edits) != ("mose", 40)  # it stopped earlier
    ]
    table = abilities.abilities(runs, {"t": "accuracy"})
    rows = [
        {"method": method, "seed": seed, "edits": edits, "reliability": 0.1 * seed + edits / 100,
         "generalization": 0.5, "locality": 1.0, "model": "m", "dataset": "d"}
        for method in ("memit", "mose") for seed in (0, 1) for edits in (0, 20, 40, 60)
    ]  # fmt: skip
    found = abilities.comparison(pd.DataFrame(rows), table).set_index("method")
    assert list(found.index) == ["unedited", "memit", "mose"]
    assert found["edits"].tolist() == [0, 40, 20]
    assert found["reliability"].tolist() == pytest.approx([0.05, 0.45, 0.25])
    accuracy = [np.mean(np.equal(labels, one)) for one in (before, after, before)]
    assert found["t"].tolist() == pytest.approx(accuracy)
    assert found["retained"].tolist() == pytest.approx([100, 100 * accuracy[1] / accuracy[0], 100])
    text = abilities.format_comparison(found.reset_index())
    assert "100.00 [100.00, 100.00]" in text
    drawn = abilities.unedited_rows(table)
    assert len(drawn) == len(table) + 4 * len(table) // 6, "of six checkpoints, and of four runs"
    first = drawn[(drawn["edits"] == 0) & drawn["headline"] & (drawn["task"] == "t")]
    assert first["value"].tolist() == pytest.approx([accuracy[0]] * 4)
