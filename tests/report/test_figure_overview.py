"""Figures: what is drawn, named and saved; how it looks is for eyes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mose.report.figures import drawing, overview

METHODS = ["memit", "mose", "mose-output", "mose-input"]
SCORES = ["reliability", "generalization", "locality", "efficacy", "paraphrase", "neighborhood"]
RUN = {"model": "tiny", "dataset": "facts"}


def summary_of(methods=METHODS, seeds=1, checkpoints=(0, 20, 40)):
    rows = []
    for place, method in enumerate(methods):
        for seed in range(seeds):
            for edits in checkpoints:
                row = {"method": method, "seed": seed, "edits": edits, **RUN}
                row |= {name: 0.5 + 0.01 * place + 0.02 * seed for name in SCORES}
                row["perplexity"] = 40.0 + 0.01 * edits * (1 + place) + 0.1 * seed
                drift = 0.005 * edits if method == "memit" else 1e-8 * edits
                row |= {"frobenius_ratio": 1.0 + drift, "condition_ratio": 1.0 - 0.1 * drift}
                rows.append(row)
    return pd.DataFrame(rows)


def intervals_of(summary):
    bounds = summary[["method", "seed", "edits"]].copy()
    for name in SCORES:
        bounds[f"{name}_low"] = summary[name] - 0.1
        bounds[f"{name}_high"] = summary[name] + 0.1
    return bounds


def diagnostics_of(methods=METHODS):
    rng = np.random.default_rng(0)
    rows = [
        {"method": method, "seed": 0, "edits": edits, "attained": value, **RUN}
        for method in methods
        for edits in (20, 40)
        for value in rng.uniform(0.3, 1.0, size=20)
    ]
    return pd.DataFrame(rows)


def matrix_of(methods=METHODS):
    rows = [
        {"method": method, "seed": 0, "metric": "reliability", "origin": a, "edits": b, **RUN}
        for method in methods
        for a, b in ((20, 20), (20, 40), (40, 40))
    ]
    return pd.DataFrame(rows).assign(requests=20, value=0.7)


def kept_of(methods=METHODS):
    rows = [
        {"method": method, "seed": 0, "metric": "reliability", "origin": origin, **RUN}
        for method in methods
        for origin in (20, 40)
    ]
    return pd.DataFrame(rows).assign(requests=20, immediate=0.9, last=0.6)


def curves(axes, labels=METHODS):
    return {line.get_label(): line for line in axes.lines if line.get_label() in labels}


LINE_FIGURES = {
    "token_shares": (lambda: overview.token_shares(summary_of()), "Share of tokens"),
    "success_rates": (lambda: overview.success_rates(summary_of()), "Share of prompts"),
    "stability": (lambda: overview.stability(summary_of()), "Relative change (ratio \u2212 1)"),
    "perplexity": (lambda: overview.perplexity(summary_of()), "Perplexity (per token) \u2193"),
    "attained": (
        lambda: overview.attained(diagnostics_of()),
        "Attained fraction of the residual",
    ),
}
ALL_FIGURES = {name: draw for name, (draw, _) in LINE_FIGURES.items()} | {
    "forgetting": lambda: overview.forgetting(kept_of()),
    "retention_map": lambda: overview.retention_map(matrix_of()),
}


@pytest.mark.parametrize("name", LINE_FIGURES)
def test_every_panel_has_one_line_a_method_and_named_axes(name):
    draw, ylabel = LINE_FIGURES[name]
    figure = draw()
    assert figure.axes[0].get_ylabel() == ylabel
    for axes in figure.axes:
        assert axes.get_xlabel() == "Number of edits"
        lines = curves(axes)
        assert sorted(lines) == sorted(METHODS)
        pairs = {(line.get_marker(), str(line.get_linestyle())) for line in lines.values()}
        assert len(pairs) == len(METHODS)
        assert len({to_hex(line.get_color()) for line in lines.values()}) == len(METHODS)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][: len(METHODS)] == METHODS


def test_curves_are_the_data():
    summary = summary_of()
    axes = overview.token_shares(summary).axes[0]
    for method, line in curves(axes).items():
        rows = summary[summary.method == method]
        np.testing.assert_array_equal(line.get_xdata(), rows.edits)
        np.testing.assert_allclose(line.get_ydata(), rows.reliability, rtol=1e-12)


def test_three_seeds_are_one_line_at_the_mean_with_their_range():
    axes = overview.perplexity(summary_of(methods=["mose"], seeds=3)).axes[0]
    line = curves(axes)["mose"]
    np.testing.assert_allclose(line.get_ydata(), [40.1, 40.3, 40.5], rtol=1e-12)
    (whiskers,) = axes.collections
    for segment, middle in zip(whiskers.get_segments(), (40.1, 40.3, 40.5), strict=True):
        np.testing.assert_allclose(segment[:, 1], [middle - 0.1, middle + 0.1], rtol=1e-12)


def test_one_seed_takes_its_whiskers_from_the_intervals():
    summary = summary_of(methods=["mose"])
    axes = overview.token_shares(summary, intervals_of(summary)).axes[0]
    (whiskers,) = axes.collections
    np.testing.assert_allclose(whiskers.get_segments()[0][:, 1], [0.4, 0.6], rtol=1e-12)


def test_twelve_methods_can_be_told_apart_without_colour():
    methods = [f"method-{place}" for place in range(12)]
    styles = drawing.looks(summary_of(methods))
    assert len({look.marker for look in styles}) == 12
    many = [drawing.Look(str(place), place, 48) for place in range(48)]
    assert len({(look.marker, look.dashes) for look in many}) == 48
    axes = overview.token_shares(summary_of(methods)).axes[0]
    assert len(curves(axes, methods)) == 12


def test_points_stand_at_their_number_of_edits_and_whiskers_side_by_side():
    figure = overview.token_shares(summary_of(seeds=2))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    for line in curves(axes).values():
        assert line.get_transform() == axes.transData
    places = [whiskers.get_transform().transform([20.0, 0.5])[0] for whiskers in axes.collections]
    steps = np.diff(sorted(places)) / figure.dpi * 72.0
    np.testing.assert_allclose(steps, 2.4, atol=1e-6)


def test_no_bar_of_the_attained_fraction_is_cut_off():
    """One method's few requests reach far beyond the others'."""
    records = diagnostics_of()
    records.loc[records.method == "memit", "attained"] *= 3.0
    axes = overview.attained(records).axes[0]
    ends = [segment[:, 1] for bars in axes.collections for segment in bars.get_segments()]
    low, high = axes.get_ylim()
    assert low <= np.min(ends)
    assert np.max(ends) <= high
    assert np.max(ends) > 2.0


def test_a_method_keeps_its_look_when_others_are_missing():
    every = {look.label: look for look in drawing.looks(summary_of(), METHODS)}
    (alone,) = drawing.looks(summary_of(["mose-output"]), METHODS)
    assert alone == every["mose-output"]
    with pytest.raises(ValueError, match="rome"):
        drawing.looks(summary_of(["rome"]), METHODS)


def test_a_frame_of_two_models_or_metrics_is_refused():
    summary = pd.concat([summary_of(), summary_of().assign(model="big")])
    with pytest.raises(ValueError, match="one model"):
        overview.token_shares(summary)
    matrix = pd.concat([matrix_of(), matrix_of().assign(metric="locality")])
    with pytest.raises(ValueError, match="one metric"):
        overview.retention_map(matrix)


def test_stability_shows_exact_ratios_and_drift_without_offsets():
    figure = overview.stability(summary_of())
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.yaxis.get_offset_text().get_text() == ""
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert {"0", "+1", "+$10^{-6}$", "\u2212$10^{-6}$"} <= set(labels)
    lines = curves(figure.axes[0])
    low, high = figure.axes[0].get_ylim()
    for line in lines.values():
        assert low < min(line.get_ydata())
        assert max(line.get_ydata()) < high
    np.testing.assert_allclose(lines["memit"].get_ydata(), [0.0, 0.1, 0.2], rtol=1e-12)


def test_an_infinite_value_is_a_gap():
    summary = summary_of()
    summary.loc[2, ["perplexity", "condition_ratio"]] = np.inf
    for figure in (overview.perplexity(summary), overview.stability(summary)):
        figure.draw_without_rendering()
        assert np.isnan(curves(figure.axes[-1])["memit"].get_ydata()[-1])


def test_perplexity_that_explodes_is_drawn_on_a_logarithmic_axis():
    summary = summary_of()
    assert overview.perplexity(summary).axes[0].get_yscale() == "linear"
    summary.loc[2, "perplexity"] = 1e5
    assert overview.perplexity(summary).axes[0].get_yscale() == "log"


def test_many_checkpoints_are_banded_and_marked_in_turn():
    figure = overview.token_shares(summary_of(seeds=2, checkpoints=range(0, 500, 20)))
    marks = [line.get_markevery() for line in curves(figure.axes[0]).values()]
    assert marks == [(0, 3), (1, 3), (2, 3), (0, 3)]
    figure.draw_without_rendering()


def test_forgetting_has_a_panel_for_each_method():
    figure = overview.forgetting(kept_of())
    assert [axes.get_title("left") for axes in figure.axes] == METHODS
    for axes, method in zip(figure.axes, METHODS, strict=True):
        assert axes.get_xlabel() == "Place in the edit sequence"
        before, after = axes.lines
        assert after.get_label() == method
        assert list(before.get_ydata()) == [0.9, 0.9]
        assert list(after.get_ydata()) == [0.6, 0.6]
    assert figure.axes[0].get_ylabel() == "Reliability"


def test_retention_map_shows_the_matrix_and_nothing_below_its_diagonal():
    figure = overview.retention_map(matrix_of())
    panels, bar = figure.axes[:-1], figure.axes[-1]
    assert [axes.get_title("left") for axes in panels] == METHODS
    assert bar.get_ylabel() == "Reliability"
    shown = panels[0].images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), [[False, False], [True, False]])
    ticks = [text.get_text() for text in panels[0].get_yticklabels()]
    assert ticks == ["1\u201320", "21\u201340"]


@pytest.mark.parametrize("count", [1, 2, 6])
def test_small_multiples_of_any_number(count):
    methods = [f"method-{place}" for place in range(count)]
    for figure in (
        overview.forgetting(kept_of(methods)),
        overview.retention_map(matrix_of(methods)),
    ):
        figure.draw_without_rendering()
        titles = [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]
        assert titles == methods


@pytest.mark.parametrize("name", ALL_FIGURES)
def test_the_legend_lies_below_every_panel(name):
    figure = ALL_FIGURES[name]()
    figure.draw_without_rendering()
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert box.y1 <= lowest
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


@pytest.mark.parametrize("name", ALL_FIGURES)
def test_saved_files_are_the_same_bytes_every_time(name, tmp_path):
    figure = ALL_FIGURES[name]()
    first = drawing.save(figure, tmp_path / "lambda0.5")
    assert [path.name for path in first] == ["lambda0.5.pdf", "lambda0.5.png"]
    second = drawing.save(figure, tmp_path / "again")
    third = drawing.save(ALL_FIGURES[name](), str(tmp_path / "anew"))
    for one, two, three in zip(first, second, third, strict=True):
        assert one.stat().st_size > 1000
        assert one.read_bytes() == two.read_bytes() == three.read_bytes()
    assert b"CreationDate" not in first[0].read_bytes()


def test_global_settings_are_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    drawing.save(overview.perplexity(summary_of()), tmp_path / "p")
    assert dict(matplotlib.rcParams) == before
