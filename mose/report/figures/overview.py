"""Figures of the frames of `mose.report.tables`, with all methods in each.

Every function takes frames of one model and one dataset and returns a `matplotlib.figure.Figure`;
`drawing.save` writes it. `methods` gives the order of colours and markers (default: order of
first appearance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mose.report.figures.drawing import (
    FRESH,
    LESS,
    MARKS,
    MORE,
    PANELS,
    UNEDITED,
    WIDTH,
    Look,
    change_axis,
    edits_axis,
    legend,
    looks,
    outer_labels,
    share_axis,
    small_multiples,
    styled,
    title,
)


@styled
def token_shares(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None = None,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Reliability, generalization and locality (EasyEdit's) of all edits so far, by checkpoint.

    summary: of `tables.summarize`. Lines are means over seeds and whiskers their range; with one
    seed, whiskers are the bounds in `intervals` (of `intervals.summary_intervals`) if given.
    """
    names = ("reliability", "generalization", "locality")
    return _scores(summary, intervals, methods, names, "Share of tokens")


@styled
def success_rates(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None = None,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Efficacy, paraphrase and neighborhood success (MEMIT's), drawn as `token_shares`."""
    names = ("efficacy", "paraphrase", "neighborhood")
    return _scores(summary, intervals, methods, names, "Share of prompts")


@styled
def stability(summary: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Frobenius norm and condition number of the edited layer that moved most, by checkpoint.

    Drawn as ratio - 1, on an axis that is linear within 1e-6 of zero (shaded) and logarithmic
    beyond, to show both a rotation's 1.000000 and an additive method's drift.
    """
    figure = Figure(figsize=(WIDTH, 2.7))
    panels = figure.subplots(1, 2)
    styles = looks(summary, methods)
    titles = {"frobenius_ratio": "Frobenius norm", "condition_ratio": "Condition number"}
    for axes, (letter, (column, text)) in zip(
        panels, zip("ab", titles.items(), strict=True), strict=True
    ):
        moved = summary.assign(**{column: summary[column] - 1.0})
        for look in styles:
            curve(axes, look, levels_of(moved, look.label, column))
        change_axis(axes, moved[column])
        edits_axis(axes, summary["edits"])
        title(axes, text, letter)
    panels[0].set_ylabel("Relative change (ratio \N{MINUS SIGN} 1)")
    legend(figure, styles)
    return figure


@styled
def perplexity(summary: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Perplexity by checkpoint, with the unedited model's; logarithmic if it grows tenfold."""
    figure = Figure(figsize=(WIDTH / 2 + 0.6, 2.7))
    axes = figure.subplots()
    styles = looks(summary, methods)
    for look in styles:
        curve(axes, look, levels_of(summary, look.label, "perplexity"))
    finite = summary.loc[np.isfinite(summary["perplexity"]), "perplexity"]
    low, high = finite.min(), finite.max()
    # Artists with a shifted transform do not update the data limits.
    if high > 10.0 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    reference = reference_line(axes, summary, "perplexity")
    axes.set_ylabel(f"Perplexity (per token) {LESS}")
    edits_axis(axes, summary["edits"])
    legend(figure, styles, reference)
    return figure


@styled
def attained(diagnostics: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Fraction of the residual that the update wrote: median over requests, by checkpoint.

    diagnostics: one row per request with method, edits and `attained` (1 is all of the residual).
    Thick bars span the middle half of the requests, thin bars the middle 90 %, over all seeds.
    """
    figure = Figure(figsize=(WIDTH / 2 + 0.6, 2.7))
    axes = figure.subplots()
    styles = looks(diagnostics, methods)
    for look in styles:
        groups = diagnostics[diagnostics["method"] == look.label].groupby("edits")["attained"]
        levels = groups.quantile([0.05, 0.25, 0.5, 0.75, 0.95]).unstack()
        place = look.beside(axes, step=5.0)
        bar: dict[str, Any] = {"color": look.colour, "transform": place, "zorder": 2.0}
        axes.vlines(levels.index, levels[0.05], levels[0.95], linewidth=0.8, **bar)
        axes.vlines(levels.index, levels[0.25], levels[0.75], linewidth=4.5, alpha=0.35, **bar)
        axes.plot(levels.index, levels[0.5], **look.line | {"markersize": 3.4})
    # Artists with a shifted transform do not update the data limits.
    ends = diagnostics.groupby(["method", "edits"])["attained"].quantile([0.05, 0.95])
    axes.set_ylim(min(0.0, ends.min() * 1.05), max(1.05, ends.max() * 1.05))
    axes.set_ylabel("Attained fraction of the residual")
    edits_axis(axes, diagnostics["edits"])
    legend(figure, styles)
    return figure


@styled
def forgetting(kept: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Score of each batch right after its edit and at the last checkpoint.

    kept: of `retention.forgetting`, one metric, a share. One panel per method, means over seeds.
    Bars between the two lines show the loss.
    """
    styles = looks(kept, methods)
    metric = _metric(kept)
    figure, panels = small_multiples(len(styles))
    for axes, look in zip(panels, styles, strict=True):
        rows = kept[kept["method"] == look.label]
        batches = rows.groupby("origin")[["immediate", "last"]].mean()
        stops, immediate, last = batches.index, batches["immediate"], batches["last"]
        every = math.ceil(len(stops) / MARKS)
        axes.vlines(stops, last, immediate, color=look.colour, linewidth=3.5 / every, alpha=0.22)
        axes.plot(stops, immediate, markevery=every, **FRESH)
        axes.plot(stops, last, markevery=every, **look.line | {"linestyle": "solid"})
        axes.set_ylim(-0.04, 1.05)
        edits_axis(axes, stops)
        title(axes, look.label)
    outer_labels(panels, x="Place in the edit sequence", y=metric.capitalize())
    plain: dict[str, Any] = {"color": "#222222", "marker": "o", "markerfacecolor": "white"}
    handles = [
        Line2D([], [], label="right after its own batch", **FRESH),
        Line2D([], [], label="at the last checkpoint", markersize=4.2, **plain),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def retention_map(matrix: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """A metric of every group of edits at every later checkpoint: one heat map per method.

    matrix: of `retention.retention_matrix`, one metric, a share. Rows are groups of edits in their
    order, columns checkpoints; means over seeds. Small maps show the numbers.
    """
    styles = looks(matrix, methods)
    metric = _metric(matrix)
    figure, panels = small_multiples(len(styles))
    origins, stops = np.unique(matrix["origin"]), np.unique(matrix["edits"])
    for axes, look in zip(panels, styles, strict=True):
        rows = matrix[matrix["method"] == look.label]
        values = rows.groupby(["origin", "edits"])["value"].mean().unstack()
        grid = values.reindex(index=origins, columns=stops).to_numpy(dtype=np.float64)
        image = axes.imshow(grid, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        title(axes, look.label)
        if len(stops) <= 5:
            for (row, column), value in np.ndenumerate(grid):
                ink = "white" if value < 0.55 else "black"
                text = f"{value:.2f}" if np.isfinite(value) else ""
                axes.text(column, row, text, color=ink, size=6.5, ha="center", va="center")
    _map_ticks(panels[0], origins, stops)
    outer_labels(panels, x="Number of edits", y="Place in the edit sequence")
    aspect = 30 * math.ceil(len(panels) / PANELS)  # the bar is as wide for one row as for three
    bar = figure.colorbar(image, ax=panels, label=metric.capitalize(), shrink=0.9, aspect=aspect)
    bar.ax.spines[:].set_visible(False)
    return figure


@styled
def layer_scores(scores: pd.DataFrame) -> Figure:
    """Decrease of the target loss per radian of rotation, by layer, and the proposed layers.

    scores: one row per side ("output", "input") and layer with score, standard_error and proposed
    (of `scripts/choose_layers.py`). Each side is relative to its best layer; bars are one standard
    error to either side; filled markers are proposed layers.
    """
    figure = Figure(figsize=(WIDTH * 0.75, 2.7))
    axes = figure.subplots()
    styles = looks(scores.rename(columns={"side": "method"}))
    for look in styles:
        rows = scores[scores["side"] == look.label]
        best = rows["score"].max()
        score, error = rows["score"] / best, rows["standard_error"] / best
        place = look.beside(axes)
        axes.vlines(rows["layer"], score - error, score + error, color=look.colour, linewidth=0.8,
                    transform=place)  # fmt: skip
        axes.plot(rows["layer"], score, **look.line)
        chosen = rows[rows["proposed"]]
        axes.plot(chosen["layer"], chosen["score"] / best, linestyle="none",
                  marker=look.marker, color=look.colour, markersize=4.8, zorder=4)  # fmt: skip
    # Artists with a shifted transform do not update the data limits.
    ends = scores["score"] + scores["standard_error"].fillna(0.0)
    tops = ends / scores.groupby("side")["score"].transform("max")
    axes.set_ylim(-0.03, 1.05 * tops.max())
    axes.set_xlim(scores["layer"].min() - 0.5, scores["layer"].max() + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Layer")
    axes.set_ylabel("Loss decrease per radian,\nrelative to the best layer")
    legend(figure, styles)
    return figure


def _scores(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None,
    methods: Sequence[str] | None,
    names: Sequence[str],
    unit: str,
) -> Figure:
    """One panel per score in `names`; unit: label of the vertical axis."""
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, len(names), sharey=True)
    styles = looks(summary, methods)
    for axes, letter, name in zip(panels, "abc", names, strict=True):
        for look in styles:
            curve(axes, look, levels_of(summary, look.label, name, intervals))
        reference = reference_line(axes, summary, name)
        share_axis(axes)
        edits_axis(axes, summary["edits"])
        title(axes, f"{name.capitalize()} {MORE}", letter)
    panels[0].set_ylabel(unit)
    legend(figure, styles, reference)
    return figure


def levels_of(
    frame: pd.DataFrame,
    method: str,
    column: str,
    intervals: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """edits (index), mean, low, high of one method: range over seeds, or bounds of `intervals`."""
    rows = frame[frame["method"] == method]
    levels = rows.groupby("edits")[column].agg(mean="mean", low="min", high="max")
    if intervals is not None and rows["seed"].nunique() == 1:
        bounds = intervals[intervals["method"] == method].set_index("edits")
        levels["low"] = bounds[f"{column}_low"].reindex(levels.index)
        levels["high"] = bounds[f"{column}_high"].reindex(levels.index)
    return levels


def curve(axes: Axes, look: Look, levels: pd.DataFrame) -> None:
    """Draw one method's line and its spread: whiskers side by side, or a band for many points."""
    levels = levels.replace([np.inf, -np.inf], np.nan)  # infinity is drawn as a gap
    crowded = len(levels) > MARKS
    every = math.ceil(len(levels) / MARKS)
    span = (levels.index, levels["low"], levels["high"])
    spread: dict[str, Any] = {"color": look.colour, "zorder": 2.0}
    if crowded:
        axes.fill_between(*span, alpha=0.14, linewidth=0.0, **spread)
    else:
        axes.vlines(*span, linewidth=0.8, alpha=0.6, transform=look.beside(axes), **spread)
    # If not all checkpoints are marked, methods mark different ones.
    marks = (look.place % every, every)
    axes.plot(levels.index, levels["mean"], markevery=marks, **look.line)


def reference_line(axes: Axes, summary: pd.DataFrame, column: str) -> Line2D | None:
    """Draw a thin line at the unedited model's value, if the summary has it."""
    before = summary.loc[summary["edits"] == 0, column]
    if before.isna().all():
        return None
    return axes.axhline(before.mean(), label="unedited model", **UNEDITED)


def _map_ticks(axes: Axes, origins: np.ndarray, stops: np.ndarray) -> None:
    """Ticks of a retention map: first and last request of a group, edits of a checkpoint."""
    firsts = [1, *(int(stop) + 1 for stop in origins[:-1])]
    groups = [f"{a}\N{EN DASH}{b}" for a, b in zip(firsts, origins, strict=True)]
    ticks = ((axes.yaxis, groups, 6), (axes.xaxis, [str(stop) for stop in stops], 4))
    for axis, names, room in ticks:
        every = math.ceil(len(names) / room)
        axis.set_ticks(range(0, len(names), every), labels=names[::every])


def _metric(matrix: pd.DataFrame) -> str:
    metrics = list(matrix["metric"].unique())
    if len(metrics) != 1:
        raise ValueError(f"a figure shows one metric, the frame has {metrics}")
    return str(metrics[0])
