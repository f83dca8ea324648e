"""Bootstrap intervals: where they must lie, and what stands beside them."""

import math

import numpy as np
import pandas as pd
import pytest
from score_frames import generated_metrics, history

from mose.errors import StoreError
from mose.report import intervals, tables
from mose.report.ranking import RANKED_BY


def test_bootstrap_interval_covers_the_mean_and_repeats():
    values = np.random.default_rng(3).normal(0.4, 0.2, size=(200, 2))
    values[::3, 1] = np.nan
    low, high = intervals.bootstrap_interval(values, np.random.default_rng(5))
    mean = np.nanmean(values, axis=0)
    assert ((low < mean) & (mean < high)).all()
    again = intervals.bootstrap_interval(values, np.random.default_rng(5))
    other = intervals.bootstrap_interval(values, np.random.default_rng(6))
    np.testing.assert_array_equal([low, high], again)
    assert not np.array_equal(low, other[0])
    # For 200 near-normal values the percentile interval is close to mean +- 1.96 standard errors.
    for column in range(2):
        present = values[~np.isnan(values[:, column]), column]
        error = present.std() / math.sqrt(len(present))
        assert low[column] == pytest.approx(mean[column] - 1.96 * error, abs=0.25 * error)
        assert high[column] == pytest.approx(mean[column] + 1.96 * error, abs=0.25 * error)


def test_bootstrap_interval_of_constant_missing_and_no_values():
    low, high = intervals.bootstrap_interval(np.ones(7), np.random.default_rng(0))
    assert low == high == 1.0
    low, high = intervals.bootstrap_interval(
        np.array([[1.0, np.nan], [0.0, np.nan]]), np.random.default_rng(0)
    )
    assert low[0] == 0.0
    assert high[0] == 1.0
    assert np.isnan([low[1], high[1]]).all()
    low, high = intervals.bootstrap_interval(np.empty((0, 3)), np.random.default_rng(0))
    assert low.shape == (3,)
    assert np.isnan(low).all()


def test_summary_intervals_bound_the_summary_and_ignore_other_runs():
    metrics, stability, perplexity = history()
    bounds = intervals.summary_intervals(metrics, seed=1, draws=500)
    summary = tables.summarize(metrics, stability, perplexity)
    assert list(bounds.requests) == [3, 1, 3]
    for name in tables.SCORES:
        inside = bounds[f"{name}_low"].le(summary[name]) & summary[name].le(bounds[f"{name}_high"])
        assert (inside | summary[name].isna()).all()
    both = pd.concat([metrics.assign(method="other"), metrics.sample(frac=1.0, random_state=0)])
    same = intervals.summary_intervals(both, seed=1, draws=500)
    same = same[same.method == "memit"].sort_values("edits", ignore_index=True)
    pd.testing.assert_frame_equal(same, bounds)


def test_every_mean_has_its_interval_and_says_what_it_leaves_out():
    metrics = generated_metrics()
    means = intervals.means_with_intervals(metrics).set_index("metric")
    assert means.loc["reliability", "mean"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert (means["low"] <= means["mean"]).all()
    assert (means["mean"] <= means["high"]).all()
    assert means.loc["reliability_generated_exact", "left_out"] == 2
    assert (means["requests"] + means["left_out"] == 3).all()
    own = tables.request_means(metrics)
    low, high = intervals.bootstrap_interval(own["efficacy"].to_numpy(), np.random.default_rng(0))
    assert (low, high) == (means.loc["efficacy", "low"], means.loc["efficacy", "high"])
    three = own[["efficacy", "paraphrase", "neighborhood"]].mean()
    expected = 0.0 if (three == 0).any() else 3 / (1 / three).sum()
    assert means.loc["score", "mean"] == pytest.approx(expected)


def test_requests_that_a_checkpoint_did_not_score_are_counted_as_left_out():
    """Of four edits two are scored at the checkpoint, one of them with a paraphrase."""
    rows = [(0, "a", "edit", 1.0), (3, "d", "edit", 0.5), (3, "d", "paraphrase", 1.0)]
    frame = pd.DataFrame(rows, columns=["order", "request", "kind", "value"]).assign(
        prompt=0, when="retention", model="m", dataset="d", method="memit", seed=0, edits=4,
        metric=["reliability", "reliability", "generalization"],
    )  # fmt: skip
    found = intervals.means_with_intervals(frame).set_index("metric")
    assert found.loc["reliability", ["requests", "left_out", "mean"]].tolist() == [2, 2, 0.75]
    assert found.loc["generalization", ["requests", "left_out"]].tolist() == [1, 3]
    unedited = intervals.means_with_intervals(frame.assign(edits=0)).set_index("metric")
    assert unedited.loc["reliability", "left_out"] == 0


def measured(method, offset, requests, seed=0):
    """Retention metrics of a method after 10 edits; the same hard requests for every method."""
    drawn = np.random.default_rng(7)
    rows = []
    for order in range(40):
        values = drawn.uniform(0.2, 0.6, size=3) + offset
        for metric, value in zip(
            ("reliability", "generalization", "locality"), values, strict=True
        ):
            if order in requests:
                rows.append(("m", "d", method, seed, 10, "retention", order, f"r{order}", "edit", 0,
                             metric, value, 0))  # fmt: skip
    return pd.DataFrame(rows, columns=tables.METRICS)


def test_what_is_hard_for_both_methods_does_not_widen_their_difference():
    metrics = pd.concat([measured("a", 0.1, range(40)), measured("b", 0.0, range(40))])
    found = intervals.differences(metrics, "b").set_index("metric")
    assert list(found["method"]) == ["a"] * 4
    for metric in RANKED_BY:
        row = found.loc[metric]
        assert [row["difference"], row["low"], row["high"]] == pytest.approx([0.1] * 3)
    # The interval of one method alone is wider than the whole difference.
    alone = intervals.summary_intervals(metrics).set_index("method").loc["a"]
    assert alone["reliability_high"] - alone["reliability_low"] > 0.05
    assert 0 < found.loc["edit_score", "low"] < found.loc["edit_score", "high"]


def test_differences_are_of_the_requests_that_both_were_measured_on():
    metrics = pd.concat([measured("a", 0.1, range(5, 40)), measured("b", 0.0, range(30))])
    found = intervals.differences(metrics, "b")
    assert set(found["requests"]) == {25}
    assert found.loc[0, "difference"] == pytest.approx(0.1)
    backwards = intervals.differences(metrics, "a")
    assert np.allclose(backwards["difference"], -found["difference"])
    assert np.allclose(backwards["low"], -found["high"])


def test_an_unknown_baseline_is_refused_by_name():
    with pytest.raises(StoreError, match="found 'c', but metrics are of a"):
        intervals.differences(measured("a", 0.0, range(40)), "c")


def test_pooled_differences_are_of_all_seeds_and_draw_a_fact_with_all_of_its_own():
    """Of 40 requests the second seed repeats 40 under the same names, or has 40 others."""

    def both(other):
        parts = []
        for method, offset in (("a", 0.1), ("b", 0.0)):
            first, second = (measured(method, offset, range(40), seed) for seed in (0, 1))
            if method == "a":
                swing = np.where(first["order"] % 2, 0.2, -0.2)
                first, second = (one.assign(value=one["value"] + swing) for one in (first, second))
            parts += [first, second.assign(request=second["request"] + other)]
        return pd.concat(parts)

    apart, alike = (
        intervals.differences(both(other), "b", pooled=True).set_index("metric")
        for other in ("'", "")
    )
    single = intervals.differences(both(""), "b")
    assert set(single["seed"]) == {0, 1}
    single = single[single["seed"] == 0].set_index("metric")
    assert list(alike["seed"]) == list(apart["seed"]) == ["0+1"] * 4
    width = {
        name: found.loc["reliability", "high"] - found.loc["reliability", "low"]
        for name, found in {"apart": apart, "alike": alike, "single": single}.items()
    }
    assert alike.loc["reliability", "difference"] == pytest.approx(0.1)
    # The same facts again tell nothing more; as many others narrow the interval by sqrt(2).
    assert width["alike"] == pytest.approx(width["single"])
    assert width["apart"] == pytest.approx(width["single"] / 2**0.5, rel=0.15)


def test_a_method_of_fewer_seeds_is_pooled_over_those_that_it_has():
    metrics = pd.concat(
        [measured("a", 0.1, range(40), 0), *(measured("b", 0.0, range(40), s) for s in (0, 1))]
    )
    found = intervals.differences(metrics, "b", pooled=True)
    assert set(found["seed"].astype(str)) == {"0"}
    assert set(found["requests"]) == {40}
