"""Tables against sums written out by hand or in plain loops."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mose import pages, tables

COLUMNS = [
    *("order", "request", "kind", "prompt", "tokens_new", "right_new", "logprob_new"),
    *("tokens_true", "right_true", "logprob_true", "predicted_true"),
]
RUN = {"model": "tiny", "dataset": "facts", "method": "memit", "seed": 0}


def unedited_scores():
    rows = [
        (0, "a", "edit", 0, 2, 0, -8.0, 1, 1, -1.0, "5"),
        (0, "a", "paraphrase", 0, 2, 1, -6.0, 1, 0, -2.0, "6"),
        (0, "a", "paraphrase", 1, 2, 0, -9.0, 1, 0, -3.0, "7"),
        (0, "a", "locality", 0, 2, 0, -8.0, 3, 2, -3.0, "1 2 3"),
        (0, "a", "locality", 1, 2, 0, -8.0, 1, 1, -1.0, "4"),
        (1, "b", "edit", 0, 1, 0, -5.0, 2, 2, -1.0, "8 9"),
        (1, "b", "paraphrase", 0, 1, 0, -5.0, 2, 1, -1.5, "8 1"),
        (1, "b", "locality", 0, 1, 0, -6.0, 2, 1, -2.0, "3 3"),
        (2, "c", "edit", 0, 3, 1, -5.0, 1, 0, -4.0, "2"),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def edited_scores():
    rows = [
        # mean log-probabilities per token: -1 of new, -1 of true: a tie
        (0, "a", "edit", 0, 2, 2, -2.0, 1, 0, -1.0, "5"),
        (0, "a", "paraphrase", 0, 2, 1, -1.0, 1, 0, -2.0, "6"),
        (0, "a", "paraphrase", 1, 2, 2, -1.0, 1, 0, -0.25, "0"),
        (0, "a", "locality", 0, 2, 0, -8.0, 3, 1, -3.0, "1 9 3"),
        (0, "a", "locality", 1, 2, 0, -2.0, 1, 1, -1.0, "4"),
        (1, "b", "edit", 0, 1, 1, -0.5, 2, 0, -6.0, "1 1"),
        (1, "b", "paraphrase", 0, 1, 0, -2.0, 2, 0, -3.0, "1 1"),
        (1, "b", "locality", 0, 1, 0, -6.0, 2, 2, -2.0, "3 3"),
        (2, "c", "edit", 0, 3, 2, -3.0, 1, 0, -4.0, "2"),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def loop_metrics(scores, unedited):
    """{(request, kind, prompt, metric): value}, row by row."""
    before = {(r.request, r.kind, r.prompt): r for r in unedited.itertuples()}
    found = {}
    for row in scores.itertuples():
        new = row.logprob_new / row.tokens_new
        true = row.logprob_true / row.tokens_true if row.tokens_true else None
        if row.kind.startswith("portability"):
            share = row.right_true / row.tokens_true
            values = {"portability": share, "portability_exact": float(share == 1)}
        elif row.kind == "locality":
            now = row.predicted_true.split()
            then = before[row.request, row.kind, row.prompt].predicted_true.split()
            same = sum(now[i] == then[i] for i in range(len(now)))
            values = {
                "locality": same / len(now),
                "locality_exact": float(same == len(now)),
                "locality_truth": row.right_true / row.tokens_true,
                "locality_truth_exact": float(row.right_true == row.tokens_true),
                "neighborhood": 1.0 if true > new else 0.0,
                "neighborhood_margin": true - new,
                "neighborhood_magnitude": math.exp(true) - math.exp(new),
            }
        else:
            share, success = {
                "edit": ("reliability", "efficacy"),
                "paraphrase": ("generalization", "paraphrase"),
            }[row.kind]
            values = {
                share: row.right_new / row.tokens_new,
                f"{share}_exact": float(row.right_new == row.tokens_new),
            }
            if true is not None:
                values |= {success: float(new > true), f"{success}_margin": new - true}
                values[f"{success}_magnitude"] = math.exp(new) - math.exp(true)
        for metric, value in values.items():
            found[row.request, row.kind, row.prompt, metric] = value
    return found


def test_score_metrics_agree_with_a_loop_over_rows():
    more = [
        (2, "c", "portability:Reasoning", 0, 3, 0, -5.0, 4, 3, -3.0, "1 2 3 4"),
        # Without a true object there is nothing to be likelier than.
        (3, "d", "edit", 0, 1, 1, -5.0, 0, 0, 0.0, ""),
    ]
    scores, unedited = (
        pd.concat([frame, pd.DataFrame(more, columns=COLUMNS)], ignore_index=True)
        for frame in (edited_scores(), unedited_scores())
    )
    metrics = tables.score_metrics(scores, unedited)
    expected = loop_metrics(scores, unedited)
    assert list(metrics.columns) == ["order", "request", "kind", "prompt", "metric", "value"]
    keys = list(zip(metrics.request, metrics.kind, metrics.prompt, metrics.metric, strict=True))
    assert len(keys) == len(set(keys)) == len(expected)
    for key, value in zip(keys, metrics.value, strict=True):
        assert value == pytest.approx(expected[key], abs=1e-15), key


def value_of(metrics, request, metric, prompt=0):
    chosen = metrics.request.eq(request) & metrics.metric.eq(metric) & metrics.prompt.eq(prompt)
    (value,) = metrics[chosen].value
    return value


def test_requests_that_a_checkpoint_did_not_score_are_counted_as_left_out():
    """Of four edits two are scored at the checkpoint, one of them with a paraphrase."""
    rows = [(0, "a", "edit", 1.0), (3, "d", "edit", 0.5), (3, "d", "paraphrase", 1.0)]
    frame = pd.DataFrame(rows, columns=["order", "request", "kind", "value"]).assign(
        prompt=0, when="retention", model="m", dataset="d", method="memit", seed=0, edits=4,
        metric=["reliability", "reliability", "generalization"],
    )  # fmt: skip
    found = tables.means_with_intervals(frame).set_index("metric")
    assert found.loc["reliability", ["requests", "left_out", "mean"]].tolist() == [2, 2, 0.75]
    assert found.loc["generalization", ["requests", "left_out"]].tolist() == [1, 3]
    unedited = tables.means_with_intervals(frame.assign(edits=0)).set_index("metric")
    assert unedited.loc["reliability", "left_out"] == 0


def test_ties_are_lost_and_shares_are_of_tokens():
    metrics = tables.score_metrics(edited_scores(), unedited_scores())
    assert value_of(metrics, "a", "efficacy") == 0.0
    assert value_of(metrics, "a", "efficacy_margin") == 0.0
    assert value_of(metrics, "a", "neighborhood", prompt=1) == 0.0
    assert value_of(metrics, "a", "locality") == pytest.approx(2 / 3)
    assert value_of(metrics, "a", "locality_truth") == pytest.approx(1 / 3)
    assert value_of(metrics, "c", "reliability") == pytest.approx(2 / 3)
    assert value_of(metrics, "c", "reliability_exact") == 0.0


def test_the_unedited_model_agrees_with_itself_in_any_row_order():
    unedited = unedited_scores()
    metrics = tables.score_metrics(unedited, unedited.iloc[::-1])
    assert (metrics[metrics.metric == "locality_exact"].value == 1.0).all()


def test_single_tokens_read_as_numbers_are_compared_as_text():
    rows = [(0, 7, "locality", 0, 1, 0, -2.0, 1, 1, -1.0, 4)]
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    text = numbers.astype({"request": str, "predicted_true": str})
    metrics = tables.score_metrics(numbers, text)
    assert value_of(metrics, "7", "locality") == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u.drop(index=4), r"no score for request a, kind locality, prompt 1.* 2 new and"),
        (
            lambda u: u.assign(tokens_new=u.tokens_new.where(u.index != 5, 4)),
            r"tokens_new differs for request b, kind edit, prompt 0: 1 in the scores, 4 in the un",
        ),
        (
            lambda u: u.assign(tokens_true=u.tokens_true.where(u.index != 3, 2)),
            r"tokens_true differs for request a, kind locality, prompt 0: 3 .* 2 in the unedited",
        ),
        (
            lambda u: u.assign(predicted_true=u.predicted_true.where(u.index != 3, "1 2")),
            r"has 3 tokens in the scores and 2 .* request a, kind locality, prompt 0",
        ),
        (lambda u: pd.concat([u, u.iloc[:1]]), "unedited scores hold request a, kind edit.* once"),
    ],
)
def test_scores_of_other_prompts_or_tokens_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tables.score_metrics(edited_scores(), change(unedited_scores()))


def test_missing_predictions_are_refused():
    scores = edited_scores()
    scores.loc[3, "predicted_true"] = None
    with pytest.raises(ValueError, match=r"has 0 tokens .* and 3 in .* request a, kind loc"):
        tables.score_metrics(scores, unedited_scores())


def test_a_target_without_tokens_is_refused():
    empty = edited_scores()
    empty.loc[0, "tokens_new"] = 0
    before = unedited_scores()
    before.loc[0, "tokens_new"] = 0
    with pytest.raises(ValueError, match="tokens_new is 0 for request a, kind edit, prompt 0"):
        tables.score_metrics(empty, before)


def test_identify_puts_columns_in_front_and_refuses_to_overwrite():
    frame = tables.identify(pd.DataFrame({"layer": [3, 4]}), **RUN, edits=20)
    assert list(frame.columns) == ["model", "dataset", "method", "seed", "edits", "layer"]
    assert list(frame.edits) == [20, 20]
    with pytest.raises(ValueError, match="edits"):
        tables.identify(frame, edits=1)


def history():
    """metrics, stability, perplexity of one run with checkpoints 0, 1, 3."""
    unedited, edited = unedited_scores(), edited_scores()
    metrics, perplexity, stability = [], [], []
    for edits, newest, scores in ((0, 0, unedited), (1, 0, edited), (3, 1, edited)):
        rows = tables.score_metrics(scores, unedited)
        done = rows[rows.order < edits] if edits else rows
        metrics.append(tables.identify(done, **RUN, edits=edits, when="retention"))
        fresh = rows[(rows.order >= newest) & (rows.order < edits)]
        metrics.append(tables.identify(fresh, **RUN, edits=edits, when="immediate"))
        one = pd.DataFrame({"tokens": [100], "nll": [2.0], "perplexity": [40.0 + edits]})
        perplexity.append(tables.identify(one, **RUN, edits=edits))
    for edits in (1, 3):
        layers = pd.DataFrame(
            {
                "layer": [4, 5, 6],
                "orthogonality_error": [np.nan] * 3,
                "frobenius_ratio": [1.0, 1.0 + 0.1 * edits, 0.95],
                "condition_ratio": [1.5, 1.0, 0.25 if edits == 3 else 0.9],
            }
        )
        stability.append(tables.identify(layers, **RUN, edits=edits))
    return tuple(pd.concat(parts, ignore_index=True) for parts in (metrics, stability, perplexity))


def loop_mean(scores, unedited, metric, orders):
    """The mean over requests of means over prompts."""
    values = loop_metrics(scores, unedited)
    order = dict(zip(scores.request, scores.order, strict=True))
    by_request = {}
    for (request, _, _, name), value in values.items():
        if name == metric and order[request] in orders:
            by_request.setdefault(request, []).append(value)
    means = [sum(found) / len(found) for found in by_request.values()]
    return sum(means) / len(means) if means else math.nan


def test_summary_averages_prompts_then_requests():
    summary = tables.summarize(*history())
    assert list(summary.columns) == [
        *("method", "seed", "edits", "reliability", "generalization", "locality", "efficacy"),
        *("paraphrase", "neighborhood", "perplexity", "frobenius_ratio", "condition_ratio"),
        *("score", "portability", "model", "dataset"),
    ]
    assert list(summary.edits) == [0, 1, 3]
    cases = [(0, unedited_scores(), {0, 1, 2}), (1, edited_scores(), {0})]
    cases.append((3, edited_scores(), {0, 1, 2}))
    for edits, scores, orders in cases:
        (row,) = summary[summary.edits == edits].itertuples()
        for metric in tables.SCORES:
            expected = loop_mean(scores, unedited_scores(), metric, orders)
            assert getattr(row, metric) == pytest.approx(expected, nan_ok=True), (edits, metric)
        assert row.perplexity == 40.0 + edits


def test_summary_ratios_are_of_the_layer_that_moved_most():
    summary = tables.summarize(*history()).set_index("edits")
    assert list(summary.frobenius_ratio) == pytest.approx([1.0, 1.1, 1.3])
    assert list(summary.condition_ratio) == pytest.approx([1.0, 1.5, 0.25])


@pytest.mark.parametrize("which", [1, 2])
def test_a_checkpoint_without_stability_or_perplexity_is_refused(which):
    frames = list(history())
    frames[which] = frames[which][frames[which].edits != 3]
    with pytest.raises(ValueError, match="edits': 3"):
        tables.summarize(*frames)


def test_immediate_is_of_the_requests_of_the_last_batch():
    table = tables.immediate(history()[0])
    assert list(table.edits) == [1, 3]
    assert list(table.requests) == [1, 2]
    for row, orders in zip(table.itertuples(), ({0}, {1, 2}), strict=True):
        for metric in tables.SCORES:
            expected = loop_mean(edited_scores(), unedited_scores(), metric, orders)
            assert getattr(row, metric) == pytest.approx(expected, nan_ok=True)


def test_retention_matrix_groups_requests_by_origin():
    matrix = tables.retention_matrix(history()[0], "generalization")
    found = {(r.origin, r.edits): (r.requests, r.value) for r in matrix.itertuples()}
    assert found.keys() == {(1, 1), (1, 3), (3, 3)}
    assert found[1, 3] == (1, pytest.approx(0.75))
    assert found[3, 3] == (1, 0.0)  # request b; c has no paraphrase
    finer = tables.retention_matrix(history()[0], "reliability", ends=[1, 2, 3])
    assert set(zip(finer.origin, finer.edits, strict=True)) == {(1, 1), (1, 3), (2, 3), (3, 3)}
    with pytest.raises(ValueError, match="request 2 lies beyond the last end 2"):
        tables.retention_matrix(history()[0], ends=[1, 2])


def test_forgetting_compares_the_same_requests():
    metrics = history()[0]
    worse = metrics.edits.eq(3) & metrics.when.eq("retention") & metrics.request.eq("a")
    metrics.loc[worse & metrics.metric.eq("reliability"), "value"] = 0.5
    kept = tables.forgetting(metrics, "reliability")
    rows = {r.origin: (r.requests, r.immediate, r.last) for r in kept.itertuples()}
    assert rows == {
        1: (1, 1.0, 0.5),
        3: (2, pytest.approx((1 + 2 / 3) / 2), pytest.approx((1 + 2 / 3) / 2)),
    }


def test_bootstrap_interval_covers_the_mean_and_repeats():
    values = np.random.default_rng(3).normal(0.4, 0.2, size=(200, 2))
    values[::3, 1] = np.nan
    low, high = tables.bootstrap_interval(values, np.random.default_rng(5))
    mean = np.nanmean(values, axis=0)
    assert ((low < mean) & (mean < high)).all()
    again = tables.bootstrap_interval(values, np.random.default_rng(5))
    other = tables.bootstrap_interval(values, np.random.default_rng(6))
    np.testing.assert_array_equal([low, high], again)
    assert not np.array_equal(low, other[0])
    # For 200 near-normal values the percentile interval is close to mean +- 1.96 standard errors.
    for column in range(2):
        present = values[~np.isnan(values[:, column]), column]
        error = present.std() / math.sqrt(len(present))
        assert low[column] == pytest.approx(mean[column] - 1.96 * error, abs=0.25 * error)
        assert high[column] == pytest.approx(mean[column] + 1.96 * error, abs=0.25 * error)


def test_bootstrap_interval_of_constant_missing_and_no_values():
    low, high = tables.bootstrap_interval(np.ones(7), np.random.default_rng(0))
    assert low == high == 1.0
    low, high = tables.bootstrap_interval(
        np.array([[1.0, np.nan], [0.0, np.nan]]), np.random.default_rng(0)
    )
    assert low[0] == 0.0
    assert high[0] == 1.0
    assert np.isnan([low[1], high[1]]).all()
    low, high = tables.bootstrap_interval(np.empty((0, 3)), np.random.default_rng(0))
    assert low.shape == (3,)
    assert np.isnan(low).all()


def test_summary_intervals_bound_the_summary_and_ignore_other_runs():
    metrics, stability, perplexity = history()
    intervals = tables.summary_intervals(metrics, seed=1, draws=500)
    summary = tables.summarize(metrics, stability, perplexity)
    assert list(intervals.requests) == [3, 1, 3]
    for name in tables.SCORES:
        inside = intervals[f"{name}_low"].le(summary[name]) & summary[name].le(
            intervals[f"{name}_high"]
        )
        assert (inside | summary[name].isna()).all()
    both = pd.concat([metrics.assign(method="other"), metrics.sample(frac=1.0, random_state=0)])
    same = tables.summary_intervals(both, seed=1, draws=500)
    same = same[same.method == "memit"].sort_values("edits", ignore_index=True)
    pd.testing.assert_frame_equal(same, intervals)


def test_metrics_survive_a_file(tmp_path):
    metrics, stability, perplexity = history()
    assert set(metrics.columns) == set(tables.METRICS)
    metrics[tables.METRICS].to_csv(tmp_path / "metrics.csv", index=False)
    again = pd.read_csv(tmp_path / "metrics.csv", dtype=tables.SCORE_DTYPES)
    pd.testing.assert_frame_equal(
        tables.summarize(again, stability, perplexity),
        tables.summarize(metrics, stability, perplexity),
        check_dtype=False,
    )


def test_methods_keep_the_order_in_which_they_come():
    metrics, stability, perplexity = history()
    frames = [
        pd.concat([frame.assign(method=name) for name in ("zeta", "alpha")])
        for frame in (metrics, stability, perplexity)
    ]
    assert list(dict.fromkeys(tables.summarize(*frames).method)) == ["zeta", "alpha"]


def test_format_summary_fits_and_shows_every_digit_that_matters():
    summary = tables.summarize(*history())
    summary["method"] = "a-method-with-a-very-long-name"[:29]
    summary.loc[2, ["perplexity", "frobenius_ratio"]] = [123456.0, 1.0 + 4e-7]
    text = pages.format_summary(summary)
    lines = text.splitlines()
    assert len(lines) == 3 + len(summary)
    assert max(map(len, lines)) <= 120
    assert "1.000000" in lines[5]
    assert "1.23e+05" in lines[5]
    assert "tiny" not in text
    assert lines[4].split()[3] == "1.000"
    summary.loc[1, "locality"] = np.nan
    assert pages.format_summary(summary).splitlines()[4].split()[5] == "-"


def test_format_summary_has_a_block_for_each_model():
    summary = tables.summarize(*history())
    text = pages.format_summary(pd.concat([summary, summary.assign(model="big")]))
    assert [block.splitlines()[0] for block in text.split("\n\n")] == ["tiny, facts", "big, facts"]


def test_tables_and_figures_are_imported_without_torch():
    code = "import sys, mose.tables, mose.figures; print(sorted(sys.modules))"
    root = Path(tables.__file__).parents[1]
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    ).stdout
    for name in ("torch", "transformers", "h5py", "snakemake", "matplotlib.pyplot"):
        assert f"'{name}'" not in loaded


def test_the_score_is_the_harmonic_mean_of_the_three_success_rates():
    found = tables.harmonic_mean(np.array([[0.5, 1.0, 0.25], [0.0, 1.0, 1.0], [0.5, np.nan, 0.0]]))
    assert found[0] == pytest.approx(3 / (1 / 0.5 + 1 / 1.0 + 1 / 0.25))
    assert found[1] == 0.0
    assert math.isnan(found[2])


def generated_metrics():
    """Three requests, of which only the first was answered by generation."""
    scores = edited_scores()
    asked = (scores["request"] == "a") & (scores["kind"] != "locality")
    scores["answer"] = np.where(asked, "Rome", "")
    scores["generated"] = np.where(asked, "It is Rome.", "")
    long = tables.score_metrics(scores, unedited_scores())
    return tables.identify(long, **RUN, edits=3, when="retention")


def test_four_ways_to_judge_an_answer_stand_side_by_side():
    table = tables.protocols(generated_metrics()).set_index("metric")
    row = table.loc["reliability"]
    assert row["requests"] == 1
    assert (row["token_level"], row["all_tokens"]) == (1.0, 1.0)
    assert (row["generated_exact"], row["generated_contains"]) == (0.0, 1.0)
    assert table.loc["generalization", "token_level"] == pytest.approx((0.5 + 1.0) / 2)
    assert tables.protocols(history()[0]).empty


def test_every_mean_has_its_interval_and_says_what_it_leaves_out():
    metrics = generated_metrics()
    means = tables.means_with_intervals(metrics).set_index("metric")
    assert means.loc["reliability", "mean"] == pytest.approx((1 + 1 + 2 / 3) / 3)
    assert (means["low"] <= means["mean"]).all()
    assert (means["mean"] <= means["high"]).all()
    assert means.loc["reliability_generated_exact", "left_out"] == 2
    assert (means["requests"] + means["left_out"] == 3).all()
    own = tables.request_means(metrics)
    low, high = tables.bootstrap_interval(own["efficacy"].to_numpy(), np.random.default_rng(0))
    assert (low, high) == (means.loc["efficacy", "low"], means.loc["efficacy", "high"])
    three = own[["efficacy", "paraphrase", "neighborhood"]].mean()
    expected = 0.0 if (three == 0).any() else 3 / (1 / three).sum()
    assert means.loc["score", "mean"] == pytest.approx(expected)


def test_forgetting_curves_are_means_over_requests_of_one_age():
    matrix = pd.DataFrame(
        [(2, 2, 2, 1.0), (2, 4, 2, 0.5), (4, 4, 1, 0.7), (2, 6, 2, 0.2), (4, 6, 1, 0.8)],
        columns=["origin", "edits", "requests", "value"],
    ).assign(metric="reliability", **RUN)
    curves = tables.forgetting_curves(matrix).set_index("age")
    assert curves["value"].to_dict() == pytest.approx(
        {0: (2 * 1.0 + 0.7) / 3, 2: (2 * 0.5 + 0.8) / 3, 4: 0.2}
    )
    assert curves["requests"].to_dict() == {0: 3, 2: 3, 4: 2}
