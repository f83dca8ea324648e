"""Means of a checkpoint that scored its newest segment and a sample of the earlier requests."""

import numpy as np
import pandas as pd
import pytest

from mose.report import intervals, tables

RUN = {"model": "m", "dataset": "d", "method": "memit", "seed": 0, "prompt": 0}
STABILITY = dict.fromkeys(tables.RATIOS, 1.0)


def rows(orders, metric, values, edits, drawn_of=0):
    """Retention rows of one metric, a request each."""
    frame = pd.DataFrame({"order": orders, "value": values, "drawn_of": drawn_of})
    return frame.assign(
        **RUN, edits=edits, when="retention", kind="edit", metric=metric,
        request=frame["order"].map("r{}".format),
    )[tables.METRICS]  # fmt: skip


def checkpoint(segment, before, scored, earlier=0.25, newest=1.0):
    """Reliability of `before` earlier requests, of which `scored` were drawn, and the newest."""
    drawn = np.arange(before)[:: before // scored][:scored]
    recent = np.arange(before, before + segment)
    edits = before + segment
    return pd.concat(
        [
            rows(drawn, "reliability", earlier, edits, before),
            rows(recent, "reliability", newest, edits),
        ],
        ignore_index=True,
    )


def summary_of(metrics):
    at = [
        {**{name: RUN.get(name) for name in tables.RUN}, "edits": n} for n in metrics.edits.unique()
    ]
    stability = pd.DataFrame([{**one, "layer": 0, **STABILITY} for one in at])
    perplexity = pd.DataFrame([{**one, "perplexity": 9.0} for one in at])
    return tables.summarize(metrics, stability, perplexity)


# In the second case both parts have equally many requests.
@pytest.mark.parametrize(("segment", "before", "scored"), [(50, 450, 30), (40, 40, 10), (5, 95, 1)])
def test_forgotten_requests_count_as_if_all_were_scored(segment, before, scored):
    metrics = checkpoint(segment, before, scored)
    expected = (0.25 * before + segment) / (before + segment)
    assert summary_of(metrics)["reliability"].item() == pytest.approx(expected)
    means = intervals.means_with_intervals(metrics).set_index("metric").loc["reliability"]
    assert means["mean"] == pytest.approx(expected)
    assert means["requests"] == scored + segment
    assert means["left_out"] == before - scored


def test_a_metric_of_other_requests_is_weighted_by_those_that_have_it():
    """Generated answers are a sample of all requests, and of the newest too."""
    metrics = checkpoint(100, 300, 60)
    early, late = [0, 20, 40], [310]
    generated = pd.concat(
        [
            rows(early, "reliability_generated_exact", [0.0, 0.0, 0.3], 400, 300),
            rows(late, "reliability_generated_exact", 1.0, 400),
        ]
    )
    means = intervals.means_with_intervals(pd.concat([metrics, generated])).set_index("metric")
    found = means.loc["reliability_generated_exact", "mean"]
    assert found == pytest.approx((300 * 0.1 + 100 * 1.0) / 400)
    only_late = intervals.means_with_intervals(pd.concat([metrics, generated[3:]]))
    found = only_late.set_index("metric").loc["reliability_generated_exact", "mean"]
    assert found == pytest.approx(1.0)


def test_the_interval_of_a_sample_holds_the_mean_of_all():
    """A hundred samples of known values: their 95 % intervals hold the truth about as often."""
    drawn = np.random.default_rng(0)
    everything = drawn.beta(0.4, 0.8, size=400)
    newest = drawn.beta(4, 1, size=100)
    truth = np.concatenate([everything, newest]).mean()
    held = 0
    for _ in range(100):
        orders = np.sort(drawn.choice(400, 80, replace=False))
        metrics = pd.concat(
            [
                rows(orders, "reliability", everything[orders], 500, 400),
                rows(np.arange(400, 500), "reliability", newest, 500),
            ]
        )
        row = intervals.means_with_intervals(metrics, draws=400).iloc[0]
        held += row["low"] <= truth <= row["high"]
    assert held >= 90


def test_differences_of_two_methods_count_the_earlier_requests_by_their_number():
    parts = []
    for method, earlier in (("a", 0.75), ("b", 0.25)):
        one = checkpoint(50, 450, 45, earlier=earlier)
        parts += [
            one.assign(method=method, metric=metric)
            for metric in ("reliability", "generalization", "locality")
        ]
    found = intervals.differences(pd.concat(parts), "b").set_index("metric")
    assert found.loc["reliability", "difference"] == pytest.approx(0.5 * 450 / 500)


def test_tables_of_checkpoints_that_are_scored_whole_do_not_change():
    whole = checkpoint(50, 450, 450).assign(drawn_of=0)
    assert summary_of(whole)["reliability"].item() == whole["value"].mean()
    without = whole.drop(columns="drawn_of")
    pd.testing.assert_frame_equal(summary_of(whole), summary_of(without))
    pd.testing.assert_frame_equal(
        intervals.summary_intervals(whole), intervals.summary_intervals(without)
    )
