"""Figures beside the overview: edits against fluency and drift, portability, scores by age.

As in `overview`, frames are of one model and one data set; each figure has all methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mose.report import drift as drifts
from mose.report.figures.drawing import (
    LESS,
    MORE,
    UNEDITED,
    WIDTH,
    edits_axis,
    legend,
    looks,
    outer_labels,
    panel_grid,
    share_axis,
    styled,
    title,
)
from mose.report.figures.overview import curve, levels_of, reference_line
from mose.report.tables import RUN

IN_ROW = 3
"""Panels in a row: each family of scores, EasyEdit's and MEMIT's, has three."""
PORTABILITY = "portability:"
LINEAR = 30
"""A panel of drift whose values differ by less than this factor has a linear axis."""


def kinds_of(means: pd.DataFrame) -> pd.DataFrame:
    """The rows of `intervals.means_with_intervals` with portability by kind, at checkpoints."""
    of_kind = means["metric"].str.startswith(PORTABILITY) & (means["when"] == "retention")
    return means[of_kind & means["mean"].notna()]


@styled
def tradeoff(summary: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Reliability against perplexity: one line per method, one point per checkpoint.

    summary: of `tables.summarize`. Means over seeds; the last checkpoint is filled, a point of
    infinite perplexity is left out.
    """
    figure = Figure(figsize=(WIDTH / 2 + 0.6, 3.0))
    axes = figure.subplots()
    finite = summary[np.isfinite(summary["perplexity"])]
    edited = finite[finite["edits"] > 0]
    styles = looks(summary, methods)
    for look in styles:
        own = edited[edited["method"] == look.label].groupby("edits")[["perplexity", "reliability"]]
        points = own.mean()
        axes.plot(points["perplexity"], points["reliability"], **look.line)
        last = points.tail(1)
        filled = {**look.line, "label": None, "markerfacecolor": look.colour, "zorder": 4.0}
        axes.plot(last["perplexity"], last["reliability"], **filled)
    before = finite.loc[finite["edits"] == 0, "perplexity"].mean()
    reference = axes.axvline(before, label="unedited model", **UNEDITED)
    if finite["perplexity"].max() > 10.0 * finite["perplexity"].min():
        axes.set_xscale("log")
    share_axis(axes)
    axes.set_xlabel(f"Perplexity (per token) {LESS}")
    axes.set_ylabel(f"Reliability {MORE}")
    legend(figure, styles, None if np.isnan(before) else reference)
    return figure


@styled
def drift(
    summary: pd.DataFrame, stability: pd.DataFrame, methods: Sequence[str] | None = None
) -> Figure:
    """Reliability against each measure of drift: one point per run and checkpoint.

    Titles have Spearman's rank correlation over all points.
    """
    rows = drifts.drift(summary, stability)
    styles = looks(summary, methods)
    figure, panels = panel_grid(len(drifts.MEASURES), in_row=IN_ROW)
    for axes, letter, (measure, name) in zip(
        panels, "abcdef", drifts.MEASURES.items(), strict=True
    ):
        _drift_axis(axes, rows[measure])
        for look in styles:
            own = rows[rows["method"] == look.label]
            points = {**look.line, "linestyle": "none"}
            axes.plot(own[measure], own["reliability"], **points)
        share_axis(axes)
        rho = drifts.rank_correlation(rows, measure)
        shown = f" ($\\rho$ {rho:.2f})".replace("-", "\N{MINUS SIGN}")
        title(axes, name if np.isnan(rho) else name + shown, letter)
    outer_labels(panels, "Drift from the unedited matrix", f"Reliability {MORE}", IN_ROW)
    for axes in panels:  # each has its own scale
        axes.tick_params(axis="x", labelbottom=True)
    legend(figure, styles)
    return figure


def _drift_axis(axes: Axes, values: pd.Series) -> None:
    """Logarithmic from FLOOR on; linear where values differ by less than a factor of LINEAR."""
    low, high = values.min(), values.max()
    if high < LINEAR * low:
        room = 0.08 * (high - low) or 0.1 * high
        axes.set_xlim(low - room, high + room)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter("{x:g}")
        return
    axes.set_xscale("log")
    axes.set_xlim(drifts.FLOOR / 2, max(1.0, 2 * high))


@styled
def portability(kinds: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Portability of all edits so far by checkpoint: one panel per kind of prompt.

    kinds: of `kinds_of`, not empty. Lines are means over seeds and whiskers their range; with one
    seed, whiskers are the bootstrap interval over requests.
    """
    names = list(dict.fromkeys(kinds["metric"]))
    styles = looks(kinds, methods)
    figure, panels = panel_grid(len(names), shared=True, in_row=IN_ROW)
    bounds = kinds.rename(columns={"low": "mean_low", "high": "mean_high"})
    for axes, letter, name in zip(panels, "abcdefghijklmnopqrstuvwxyz", names, strict=False):
        rows = kinds[kinds["metric"] == name]
        for look in styles:
            curve(axes, look, levels_of(rows, look.label, "mean", bounds[bounds["metric"] == name]))
        reference = reference_line(axes, rows, "mean")
        edits_axis(axes, kinds["edits"])
        share_axis(axes)
        title(axes, name.removeprefix(PORTABILITY).replace("_", " "), letter)
    outer_labels(panels, "Number of edits", "Share of tokens", IN_ROW)
    legend(figure, styles, reference)
    return figure


@styled
def forgetting_curves(curves: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Scores by age, the number of edits after a request's own group: one panel per score.

    curves: of `retention.forgetting_curves`. Lines are means over seeds and whiskers their range.
    High ages have early requests only.
    """
    return _panel_per_score(curves.rename(columns={"age": "edits"}), "Edits made since", methods)


@styled
def first_edits(matrix: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Scores of the first group of requests at every checkpoint: one panel per score.

    matrix: of `retention.retention_matrix`, of several scores. Lines are means over seeds and
    whiskers their range.
    """
    first = matrix[matrix["origin"] == matrix.groupby(RUN)["origin"].transform("min")]
    return _panel_per_score(first, "Number of edits", methods)


def _panel_per_score(frame: pd.DataFrame, unit: str, methods: Sequence[str] | None) -> Figure:
    """`value` against `edits`, a panel for each `metric` that has values. unit: of `edits`."""
    known = frame[frame["value"].notna()]
    names = list(dict.fromkeys(known["metric"]))
    styles = looks(known, methods)
    figure, panels = panel_grid(len(names), shared=True, in_row=IN_ROW)
    for axes, letter, name in zip(panels, "abcdefghijklmnopqrstuvwxyz", names, strict=False):
        for look in styles:
            curve(axes, look, levels_of(known[known["metric"] == name], look.label, "value"))
        edits_axis(axes, known["edits"])
        share_axis(axes)
        title(axes, name.capitalize(), letter)
    outer_labels(panels, unit, "Share", IN_ROW)
    legend(figure, styles)
    return figure
