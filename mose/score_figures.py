"""Figures of scores that not every experiment has: portability by kind, and forgetting by age.

As in `mose.figures`: frames of one model and one dataset, all methods in each picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from mose.drawing import WIDTH, edits_axis, legend, looks, styled, title
from mose.figures import curve, levels_of, reference_line

COLUMNS = 3
"""Panels in a row."""
PORTABILITY = "portability:"


def kinds_of(means: pd.DataFrame) -> pd.DataFrame:
    """The rows of `intervals.means_with_intervals` that are portability by kind, at checkpoints."""
    of_kind = means["metric"].str.startswith(PORTABILITY) & (means["when"] == "retention")
    return means[of_kind & means["mean"].notna()]


@styled
def portability(kinds: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Portability of all edits so far by checkpoint: one panel for each kind of prompt.

    kinds: `kinds_of`, not empty. Lines are means over seeds and whiskers their range; with one
    seed, whiskers are the bootstrap interval over requests.
    """
    names = list(dict.fromkeys(kinds["metric"]))
    styles = looks(kinds, methods)
    figure, panels = _panels(len(names))
    bounds = kinds.rename(columns={"low": "mean_low", "high": "mean_high"})
    for axes, letter, name in zip(panels, "abcdefghijklmnopqrstuvwxyz", names, strict=False):
        rows = kinds[kinds["metric"] == name]
        for look in styles:
            curve(axes, look, levels_of(rows, look.label, "mean", bounds[bounds["metric"] == name]))
        reference = reference_line(axes, rows, "mean")
        edits_axis(axes, kinds["edits"])
        _share_axis(axes)
        title(axes, name.removeprefix(PORTABILITY).replace("_", " "), letter)
    _outer(panels, "Number of edits", "Share of tokens")
    legend(figure, styles, reference)
    return figure


@styled
def forgetting_curves(curves: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Scores by age, the number of edits made since a request's own: one panel for each score.

    curves: `retention.forgetting_curves`. Lines are means over seeds and whiskers their range.
    Late ages are of early requests only.
    """
    known = curves[curves["value"].notna()]
    names = list(dict.fromkeys(known["metric"]))
    styles = looks(known, methods)
    figure, panels = _panels(len(names))
    by_age = known.rename(columns={"age": "edits"})
    for axes, letter, name in zip(panels, "abcdefghijklmnopqrstuvwxyz", names, strict=False):
        for look in styles:
            curve(axes, look, levels_of(by_age[by_age["metric"] == name], look.label, "value"))
        edits_axis(axes, by_age["edits"])
        _share_axis(axes)
        title(axes, name.capitalize(), letter)
    _outer(panels, "Edits made since", "Share")
    legend(figure, styles)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    width = WIDTH if columns == COLUMNS else 1.2 + columns * (WIDTH - 1.0) / COLUMNS
    figure = Figure(figsize=(width, 1.9 * rows + 0.7))
    grid = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for spare in grid[count:]:
        spare.remove()
    return figure, grid[:count]


def _share_axis(axes: Axes) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_locator(FixedLocator([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))


def _outer(panels: Sequence[Axes], x: str, y: str) -> None:
    """Axis names on the left column and under the lowest panel of each column only."""
    for place, axes in enumerate(panels):
        lowest = place + COLUMNS >= len(panels)
        axes.tick_params(axis="x", labelbottom=lowest)
        axes.set_xlabel(x if lowest else "")
        axes.set_ylabel(y if place % COLUMNS == 0 else "")
