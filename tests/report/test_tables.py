"""Tables against sums written out by hand or in plain loops."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from score_frames import RUN, edited_scores, generated_metrics, history, loop_mean, unedited_scores

from mose.report import pages, tables


def test_identify_puts_columns_in_front_and_refuses_to_overwrite():
    frame = tables.identify(pd.DataFrame({"layer": [3, 4]}), **RUN, edits=20)
    assert list(frame.columns) == ["model", "dataset", "method", "seed", "edits", "layer"]
    assert list(frame.edits) == [20, 20]
    with pytest.raises(ValueError, match="edits"):
        tables.identify(frame, edits=1)


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


def test_checkpoints_keep_their_order_where_a_run_before_lacks_one():
    frames = [
        pd.concat([frame[frame["edits"] != 1], frame.assign(method="rome")]) for frame in history()
    ]
    rows = tables.summarize(*frames)[["method", "edits"]]
    assert rows.to_numpy().tolist() == [
        ["memit", 0], ["memit", 3], ["rome", 0], ["rome", 1], ["rome", 3]
    ]  # fmt: skip


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
    code = (
        "import sys, mose.report.tables, mose.report.figures.overview; print(sorted(sys.modules))"
    )
    root = Path(tables.__file__).parents[2]
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


def test_four_ways_to_judge_an_answer_stand_side_by_side():
    table = tables.protocols(generated_metrics()).set_index("metric")
    row = table.loc["reliability"]
    assert row["requests"] == 1
    assert (row["token_level"], row["all_tokens"]) == (1.0, 1.0)
    assert (row["generated_exact"], row["generated_contains"]) == (0.0, 1.0)
    assert table.loc["generalization", "token_level"] == pytest.approx((0.5 + 1.0) / 2)
    assert tables.protocols(history()[0]).empty
