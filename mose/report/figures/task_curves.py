"""Figures of downstream tasks, drawn as in `mose.report.figures.overview`.

Both take `abilities.unedited_rows(abilities.abilities(...))` of one model and one data set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mose.report.abilities import ALL_TASKS
from mose.report.figures.drawing import (
    GREY,
    edits_axis,
    legend,
    looks,
    outer_labels,
    panel_grid,
    styled,
    title,
)
from mose.report.figures.overview import curve


@styled
def scores(table: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """The headline score of every task, by checkpoint; the dotted line is the unedited model."""
    return _panels(table[table["task"] != ALL_TASKS], "value", methods)


@styled
def retained(table: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Retained ability in percent: every task's, and their mean."""
    return _panels(table, "retained", methods)


def _panels(table: pd.DataFrame, column: str, methods: Sequence[str] | None) -> Figure:
    table = table[table["headline"]]
    tasks = list(dict.fromkeys(table["task"]))
    figure, panels = panel_grid(len(tasks))
    styles = looks(table, methods)
    reference = None
    for axes, task in zip(panels, tasks, strict=True):
        part = table[table["task"] == task]
        for look in styles:
            curve(axes, look, _levels(part[part["method"] == look.label], column))
        before = part.loc[part["edits"] == 0, column].mean()
        if np.isfinite(before):
            reference = axes.axhline(
                before, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="unedited model"
            )
        _limits(axes, part, column)
        edits_axis(axes, part["edits"])
        metric = part["metric"].iloc[0]
        title(axes, "Mean of the tasks" if task == ALL_TASKS else f"{task} ({metric})")
    outer_labels(panels, "Number of edits", "Retained (%)" if column == "retained" else "Score")
    legend(figure, styles, reference)
    return figure


def _levels(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """edits (index), mean, low, high: range over seeds or, for one seed, its interval."""
    levels = rows.groupby("edits")[column].agg(mean="mean", low="min", high="max")
    if rows["seed"].nunique() == 1:
        bounds = rows.set_index("edits")
        for end in ("low", "high"):
            bound = bounds[f"{column}_{end}"].reindex(levels.index)
            levels[end] = bound.fillna(levels["mean"])
    return levels


def _limits(axes: Axes, part: pd.DataFrame, column: str) -> None:
    # Artists with a shifted transform do not update the data limits.
    names = [column, f"{column}_low", f"{column}_high"]
    values = part[names].to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if len(values):
        low, high = values.min(), values.max()
        room = 0.08 * (high - low) or 0.05 * max(abs(high), 1e-6)
        axes.set_ylim(low - room, high + room)
