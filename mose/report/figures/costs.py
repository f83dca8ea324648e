"""Figure of what an edit costs in time."""

import pandas as pd
from matplotlib.figure import Figure

from mose.report.figures.drawing import COLOURS, WIDTH, styled


@styled
def seconds_per_edit(times: pd.DataFrame) -> Figure:
    """Stacked bars: seconds an edit of every stage, a bar a method.

    times: columns method, stage and seconds, as `job_times.per_edit` returns them.
    """
    table = times.pivot(index="method", columns="stage", values="seconds").fillna(0.0)
    table = table.loc[times["method"].unique(), times["stage"].unique()]
    figure = Figure(figsize=(WIDTH * 0.75, 0.9 + 0.24 * len(table)))
    axes = figure.subplots()
    left = pd.Series(0.0, index=table.index)
    for place, stage in enumerate(table):
        colour = COLOURS[place % len(COLOURS)]
        axes.barh(table.index, table[stage], left=left, height=0.6, color=colour, label=stage)
        left += table[stage]
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Seconds an edit")
    if len(table):
        figure.legend(loc="outside lower center", ncols=table.shape[1], handlelength=1.2)
    return figure
