"""Drift of the edited matrices beside reliability: numbers, and the figure that shows them."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from mose.report import drift
from mose.report.figures import details

RUN = {"model": "tiny", "dataset": "facts", "seed": 0}
METHODS = ["memit", "mose"]


def frames():
    rng = np.random.default_rng(0)
    runs = [(method, edits) for method in METHODS for edits in (0, 20, 40, 60)]
    summary = pd.DataFrame(
        [{**RUN, "method": m, "edits": n, "reliability": rng.uniform()} for m, n in runs]
    )
    rows = [
        {**RUN, "method": m, "edits": n, "layer": layer,
         "frobenius_ratio": 1 + sign * rng.uniform(0.1, 0.2),
         "condition_ratio": 1 - rng.uniform(0.1, 0.2),
         "relative_change": rng.uniform(), "energy_ratio": 1 + rng.uniform(0, 0.1),
         "left_similarity": rng.uniform(), "right_similarity": 1.0 if m == "mose" else 0.7}
        for m, n in runs if n
        for layer, sign in ((4, 1), (5, -1))
    ]  # fmt: skip
    return summary, pd.DataFrame(rows)


def test_each_measure_is_that_of_the_layer_that_moved_most():
    summary, stability = frames()
    rows = drift.drift(summary, stability)
    assert list(zip(rows.method, rows.edits, strict=True)) == [
        (method, edits) for method in METHODS for edits in (20, 40, 60)
    ]
    for row in rows.itertuples():
        layers = stability[(stability.method == row.method) & (stability.edits == row.edits)]
        assert row.norm == max(abs(r - 1) for r in layers.frobenius_ratio)
        assert row.condition == max(abs(r - 1) for r in layers.condition_ratio)
        assert row.change == max(layers.relative_change)
        assert row.left == 1 - min(layers.left_similarity)
        assert row.right == max(1 - min(layers.right_similarity), drift.FLOOR)
        assert row.energy == max(abs(r - 1) for r in layers.energy_ratio)


def test_correlations_are_spearman_s():
    rows = drift.drift(*frames())
    for measure in ("norm", "change", "right"):
        expected = spearmanr(rows[measure], rows.reliability).statistic
        assert drift.rank_correlation(rows, measure) == pytest.approx(expected, rel=1e-12)


def test_the_figure_has_a_point_per_checkpoint():
    summary, stability = frames()
    figure = details.drift(summary, stability, METHODS)
    assert len(figure.axes) == len(drift.MEASURES)
    rows = drift.drift(summary, stability)
    for axes, measure in zip(figure.axes, drift.MEASURES, strict=True):
        for method in METHODS:
            (line,) = (line for line in axes.lines if line.get_label() == method)
            own = rows[rows.method == method]
            np.testing.assert_allclose(line.get_ydata(), own.reliability)
            np.testing.assert_allclose(line.get_xdata(), own[measure])
            low, high = axes.get_xlim()
            assert low < min(own[measure]) <= max(own[measure]) < high


def test_rounding_gives_no_order():
    """Two rotations whose norms differ from the unedited one by rounding only are tied."""
    summary, stability = frames()
    noise = np.random.default_rng(1).uniform(-5e-8, 5e-8, len(stability))
    stability["frobenius_ratio"] = 1.0 + noise
    rows = drift.drift(summary, stability)
    assert (rows.norm == drift.FLOOR).all()
    assert np.isnan(drift.rank_correlation(rows, "norm"))
