"""Figures that not every experiment has: what they show, and when there is nothing to show."""

import numpy as np
import pandas as pd
import pytest

from mose.report.figures import costs, details, drawing

METHODS = ["memit", "mose"]
RUN = {"model": "tiny", "dataset": "facts"}


def means_of(kinds=("Reasoning", "Subject_Aliasing"), seeds=1):
    rows = [
        {"method": method, "seed": seed, "edits": edits, "metric": f"portability:{kind}",
         "mean": 0.1 * (1 + place) + 0.01 * edits + 0.02 * seed, **RUN}
        for place, kind in enumerate(kinds)
        for method in METHODS
        for seed in range(seeds)
        for edits in (0, 2, 4)
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(when="retention")
    return frame.assign(low=frame["mean"] - 0.05, high=frame["mean"] + 0.05)


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines if line.get_label() in METHODS}


def test_each_kind_of_portability_has_a_panel_with_its_own_means(tmp_path):
    means = means_of()
    figure = details.portability(details.kinds_of(means), METHODS)
    assert len(figure.axes) == 2
    assert [axes.get_title(loc="left").split("$ ")[1] for axes in figure.axes] == [
        "Reasoning", "Subject Aliasing",
    ]  # fmt: skip
    for axes, kind in zip(figure.axes, ("Reasoning", "Subject_Aliasing"), strict=True):
        assert sorted(lines_of(axes)) == METHODS
        for method, line in lines_of(axes).items():
            rows = means[means.method.eq(method) & means.metric.eq(f"portability:{kind}")]
            np.testing.assert_array_equal(line.get_xdata(), rows.edits)
            np.testing.assert_allclose(line.get_ydata(), rows["mean"])
        whiskers = np.concatenate([np.ptp(c.get_segments(), axis=1) for c in axes.collections])
        np.testing.assert_allclose(whiskers[:, 1], 0.1)
    for path in drawing.save(figure, tmp_path / "by_kind"):
        assert path.stat().st_size > 1000


def test_with_several_seeds_lines_are_their_means_and_whiskers_their_range():
    figure = details.portability(means_of(("Reasoning",), seeds=3))
    (axes,) = figure.axes
    for line in lines_of(axes).values():
        np.testing.assert_allclose(line.get_ydata(), [0.12, 0.14, 0.16])
    whiskers = np.concatenate([np.ptp(c.get_segments(), axis=1) for c in axes.collections])
    np.testing.assert_allclose(whiskers[:, 1], 0.04)


def test_without_kinds_there_is_nothing_to_draw():
    means = means_of()
    plain = means.assign(metric="portability")
    assert details.kinds_of(plain).empty
    assert details.kinds_of(means.assign(when="immediate")).empty
    assert details.kinds_of(means.assign(mean=np.nan)).empty
    assert len(details.kinds_of(pd.concat([plain, means]))) == len(means)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_forgetting_curves_are_the_data_by_age(count):
    scores = ["reliability", "generalization", "locality", "efficacy", "paraphrase"][:count]
    rows = [
        {"method": method, "seed": 0, "metric": score, "age": age, "requests": 4,
         "value": 0.9 - 0.1 * age - 0.05 * place, **RUN}
        for place, score in enumerate(scores)
        for method in METHODS
        for age in (0, 2, 4)
    ]  # fmt: skip
    missing = [{**row, "metric": "neighborhood", "value": np.nan} for row in rows[:6]]
    curves = pd.DataFrame([*rows, *missing])
    figure = details.forgetting_curves(curves, METHODS)
    assert len(figure.axes) == count, "a score that no request has gets no panel"
    for axes, score in zip(figure.axes, scores, strict=True):
        for method, line in lines_of(axes).items():
            own = curves[curves.method.eq(method) & curves.metric.eq(score)]
            np.testing.assert_array_equal(line.get_xdata(), own.age)
            np.testing.assert_allclose(line.get_ydata(), own.value)
    assert figure.axes[-1].get_xlabel() == "Edits made since"


def test_the_first_edits_are_followed_and_no_others():
    rows = [
        {"method": method, "seed": 0, "metric": score, "origin": origin, "edits": edits,
         "requests": 2, "value": 0.9 - 0.1 * edits / 6 - 0.3 * (origin > 2) - 0.05 * place, **RUN}
        for place, score in enumerate(["reliability", "locality"])
        for method in METHODS
        for origin in (2, 4, 6)
        for edits in range(origin, 7, 2)
    ]  # fmt: skip
    figure = details.first_edits(pd.DataFrame(rows), METHODS)
    assert [axes.get_title(loc="left").split()[-1] for axes in figure.axes] == [
        "Reliability", "Locality",
    ]  # fmt: skip
    for place, axes in enumerate(figure.axes):
        for line in lines_of(axes).values():
            np.testing.assert_array_equal(line.get_xdata(), [2, 4, 6])
            expected = 0.9 - 0.05 * place - 0.1 * np.array([2, 4, 6]) / 6
            np.testing.assert_allclose(line.get_ydata(), expected)
    assert figure.axes[-1].get_xlabel() == "Number of edits"


def test_a_trade_off_has_a_point_per_checkpoint_and_ends_filled():
    rows = [
        {"method": method, "seed": seed, "edits": edits, **RUN,
         "reliability": 0.9 - 0.01 * edits - 0.02 * seed, "perplexity": 30.0 + place + edits}
        for place, method in enumerate(METHODS)
        for seed in range(2)
        for edits in (0, 2, 4, 6)
    ]  # fmt: skip
    summary = pd.DataFrame(rows)
    summary.loc[(summary.method == "mose") & (summary.edits == 6), "perplexity"] = np.inf
    axes = details.tradeoff(summary, METHODS).axes[0]
    lines = lines_of(axes)
    np.testing.assert_allclose(lines["memit"].get_xdata(), [32.0, 34.0, 36.0], rtol=1e-12)
    np.testing.assert_allclose(lines["memit"].get_ydata(), [0.87, 0.85, 0.83], rtol=1e-12)
    np.testing.assert_allclose(lines["mose"].get_xdata(), [33.0, 35.0], rtol=1e-12)
    ends = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert ends == [36.0, 35.0]
    (unedited,) = (line for line in axes.lines if line.get_label() == "unedited model")
    assert unedited.get_xdata()[0] == 30.5


def test_bars_of_seconds_an_edit_end_where_the_sums_are():
    rows = [
        ("shared", "targets", 4.0), ("memit", "edit", 1.0), ("memit", "measure", 0.5),
        ("mose", "edit", 2.0),
    ]  # fmt: skip
    times = pd.DataFrame(rows, columns=["method", "stage", "seconds"])
    axes = costs.seconds_per_edit(times).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    ends = dict.fromkeys(labels, 0.0)
    for bar in axes.patches:
        place = labels[round(bar.get_y() + bar.get_height() / 2)]
        ends[place] = max(ends[place], bar.get_x() + bar.get_width())
    assert ends == {"shared": 4.0, "memit": 1.5, "mose": 2.0}
    assert not costs.seconds_per_edit(times[:0]).axes[0].patches
