"""Figures: one picture each for the frames of `mose.tables`, with all methods in it.

Every function takes frames of one model and one dataset and returns a `matplotlib.figure.Figure`;
`save` writes it. A method keeps its colour, marker and line style in every picture, by its place
in `methods` (default: the order of first appearance), so that pictures can be read side by side,
in grey and by colour-blind readers. Nothing here touches pyplot or matplotlib's global settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

P = ParamSpec("P")

WIDTH = 6.75
"""Inches: the two columns of a conference paper."""
MARKS = 12
"""The most markers on one line; of more checkpoints, only some are marked."""
PANELS = 4
"""Small multiples in a row."""

# Okabe & Ito 2008 ("Color Universal Design") without its yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "X", "<", "p", ">", "P", "h", "*")
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (5.0, 1.6)),
    (0, (5.0, 1.4, 1.2, 1.4)),
    (0, (1.2, 1.4)),
)
LEAST = -6
"""Relative changes below ten to this power count as none: float32 rounds at 6e-8."""
GREY = "#767676"
FRESH: dict[str, Any] = {
    "color": GREY,
    "linestyle": (0, (3.0, 1.5)),
    "linewidth": 0.9,
    "marker": "_",
    "markersize": 7.0,
    "zorder": 3.0,
}
"""Values right after a request's own batch."""

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture everywhere
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "axes.titlesize": 8.0,
    "axes.titlepad": 5.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.labelcolor": "#222222",
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "xtick.major.size": 2.5,
    "ytick.major.size": 0.0,
    "xtick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markeredgewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 3.2,
    "legend.columnspacing": 1.8,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
}


@dataclass(frozen=True)
class Look:
    """How one method is drawn: its place among `count` methods decides everything."""

    label: str
    place: int
    count: int

    @property
    def colour(self) -> str:
        return COLOURS[self.place % len(COLOURS)]

    @property
    def marker(self) -> str:
        return MARKERS[self.place % len(MARKERS)]

    @property
    def dashes(self) -> str | tuple[int, tuple[float, ...]]:
        # One step further on each round of markers: 48 methods have distinct pairs.
        return DASHES[(self.place + self.place // len(MARKERS)) % len(DASHES)]

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot`. Hollow markers, and broken lines drawn over solid
        ones, let curves that coincide show through each other.
        """
        return {
            "label": self.label,
            "color": self.colour,
            "linestyle": self.dashes,
            "marker": self.marker,
            "markerfacecolor": "white",
            # Stars and crosses are mostly edge: at the size of a circle they would close up.
            "markersize": 5.6 if self.marker in "XP*" else 4.2,
            "zorder": 3.0 + 0.1 * DASHES.index(self.dashes) + 0.001 * self.place,
        }

    def beside(self, axes: Axes, step: float = 2.4) -> Transform:
        """Data coordinates moved sideways by a few points, so that markers of curves that
        coincide stand side by side; the data stay what they are.
        """
        step = min(step, 14.0 / self.count)
        points = step * (self.place - (self.count - 1) / 2.0)
        assert axes.figure is not None
        return axes.transData + ScaledTranslation(points / 72.0, 0.0, axes.figure.dpi_scale_trans)


def looks(frame: pd.DataFrame, methods: Sequence[str] | None = None) -> list[Look]:
    """The look of every method in `frame`, in the order of `methods`.

    Raises ValueError for a frame of several models or datasets, or a method not in `methods`.
    """
    for column in ("model", "dataset"):
        found = list(frame[column].unique()) if column in frame else []
        if len(found) > 1:
            raise ValueError(f"a figure shows one {column}, the frame has {found}")
    present = list(dict.fromkeys(frame["method"]))
    order = present if methods is None else list(dict.fromkeys(methods))
    unknown = [name for name in present if name not in order]
    if unknown:
        raise ValueError(f"the frame has the methods {unknown}, `methods` names only {order}")
    every = [Look(name, place, len(order)) for place, name in enumerate(order)]
    return [look for look in every if look.label in present]


@contextmanager
def paper_style() -> Iterator[None]:
    """The settings of all figures, on top of matplotlib's own defaults; restored on leaving."""
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with paper_style():
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write `<stem>.pdf` and `<stem>.png` (200 dpi) and return the two paths.

    No dates and no version are written: the same figure gives the same bytes.
    """
    stem = Path(stem)
    # A stem such as "lambda0.5" has no suffix to replace, so the ending is appended.
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "png")]
    with paper_style():
        # The layout is solved once: solving it again from its own result can move the axes.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        figure.savefig(paths[0], metadata={"CreationDate": None, "Creator": None, "Producer": None})
        figure.savefig(paths[1], dpi=200, metadata={"Software": None})
    return paths


@_styled
def token_shares(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None = None,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Reliability, generalization and locality (EasyEdit's) of all edits so far, by checkpoint.

    summary: `tables.summarize`. Lines are means over seeds and whiskers their range; with one
    seed, whiskers are the bounds in `intervals` (`tables.summary_intervals`) if given.
    """
    names = ("reliability", "generalization", "locality")
    return _scores(summary, intervals, methods, names, "Share of tokens")


@_styled
def success_rates(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None = None,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Efficacy, paraphrase and neighborhood success (MEMIT's), drawn as `token_shares` is."""
    names = ("efficacy", "paraphrase", "neighborhood")
    return _scores(summary, intervals, methods, names, "Share of prompts")


@_styled
def stability(summary: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Frobenius norm and condition number of the edited layer that moved most, by checkpoint.

    Drawn as ratio - 1 on an axis that is linear within 1e-6 of zero (shaded) and logarithmic
    beyond: a rotation's 1.000000 and an additive method's drift can both be read.
    """
    figure = Figure(figsize=(WIDTH, 2.7))
    panels = figure.subplots(1, 2)
    styles = looks(summary, methods)
    titles = {"frobenius_ratio": "Frobenius norm", "condition_ratio": "Condition number"}
    for axes, (letter, (column, title)) in zip(
        panels, zip("ab", titles.items(), strict=True), strict=True
    ):
        moved = summary.assign(**{column: summary[column] - 1.0})
        for look in styles:
            _curve(axes, look, _levels(moved, look.label, column))
        _change_axis(axes, moved[column])
        _edits_axis(axes, summary["edits"])
        _title(axes, title, letter)
    panels[0].set_ylabel("Relative change (ratio \N{MINUS SIGN} 1)")
    _legend(figure, styles)
    return figure


@_styled
def perplexity(summary: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """Perplexity by checkpoint, against the unedited model's; logarithmic if it grows tenfold."""
    figure = Figure(figsize=(WIDTH / 2 + 0.6, 2.7))
    axes = figure.subplots()
    styles = looks(summary, methods)
    for look in styles:
        _curve(axes, look, _levels(summary, look.label, "perplexity"))
    finite = summary.loc[np.isfinite(summary["perplexity"]), "perplexity"]
    low, high = finite.min(), finite.max()
    # Shifted artists do not tell the axes their extent, so it is set by hand here.
    if high > 10.0 * low:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    reference = _reference(axes, summary, "perplexity")
    axes.set_ylabel("Perplexity (per token)")
    _edits_axis(axes, summary["edits"])
    _legend(figure, styles, reference)
    return figure


@_styled
def attained(diagnostics: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """How much of the residual the update wrote: median over requests, by checkpoint.

    diagnostics: one row per request with method, edits and `attained` (a fraction; 1 is all of
    it). Thick bars span the middle half of the requests, thin ones the middle 90 %, seeds pooled.
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
        axes.plot(levels.index, levels[0.5], transform=place, **look.line | {"markersize": 3.4})
    spread = diagnostics["attained"].quantile([0.05, 0.95])
    axes.set_ylim(min(0.0, spread.min() * 1.05), max(1.05, spread.max() * 1.05))
    axes.set_ylabel("Attained fraction of the residual")
    _edits_axis(axes, diagnostics["edits"])
    _legend(figure, styles)
    return figure


@_styled
def forgetting(kept: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """What is left of a batch at the last checkpoint, against right after the batch itself.

    kept: `tables.forgetting`, of one metric, a share. One panel per method, means over seeds.
    The bars between the two lines are what later edits undid.
    """
    styles = looks(kept, methods)
    metric = _metric(kept)
    figure, panels = _small_multiples(len(styles))
    for axes, look in zip(panels, styles, strict=True):
        rows = kept[kept["method"] == look.label]
        batches = rows.groupby("origin")[["immediate", "last"]].mean()
        stops, fresh, last = batches.index, batches["immediate"], batches["last"]
        every = math.ceil(len(stops) / MARKS)
        axes.vlines(stops, last, fresh, color=look.colour, linewidth=3.5 / every, alpha=0.22)
        axes.plot(stops, fresh, markevery=every, **FRESH)
        axes.plot(stops, last, markevery=every, **look.line | {"linestyle": "solid"})
        axes.set_ylim(-0.04, 1.05)
        _edits_axis(axes, stops)
        _title(axes, look.label)
    _outer_labels(panels, x="Place in the edit sequence", y=metric.capitalize())
    now: dict[str, Any] = {"color": "#222222", "marker": "o", "markerfacecolor": "white"}
    handles = [
        Line2D([], [], label="right after its own batch", **FRESH),
        Line2D([], [], label="at the last checkpoint", markersize=4.2, **now),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@_styled
def retention_map(matrix: pd.DataFrame, methods: Sequence[str] | None = None) -> Figure:
    """A metric of every group of edits at every later checkpoint: one heat map per method.

    matrix: `tables.retention_matrix` of one metric, a share. Rows are groups of edits by when
    they were made, columns checkpoints; means over seeds. Small maps carry their numbers.
    """
    styles = looks(matrix, methods)
    metric = _metric(matrix)
    figure, panels = _small_multiples(len(styles))
    origins, stops = np.unique(matrix["origin"]), np.unique(matrix["edits"])
    for axes, look in zip(panels, styles, strict=True):
        rows = matrix[matrix["method"] == look.label]
        values = rows.groupby(["origin", "edits"])["value"].mean().unstack()
        grid = values.reindex(index=origins, columns=stops).to_numpy(dtype=np.float64)
        image = axes.imshow(grid, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        _title(axes, look.label)
        if len(stops) <= 5:
            for (row, column), value in np.ndenumerate(grid):
                ink = "white" if value < 0.55 else "black"
                text = f"{value:.2f}" if np.isfinite(value) else ""
                axes.text(column, row, text, color=ink, size=6.5, ha="center", va="center")
    _map_ticks(panels[0], origins, stops)
    _outer_labels(panels, x="Number of edits", y="Place in the edit sequence")
    aspect = 30 * math.ceil(len(panels) / PANELS)  # the same width for one row and for three
    bar = figure.colorbar(image, ax=panels, label=metric.capitalize(), shrink=0.9, aspect=aspect)
    bar.ax.spines[:].set_visible(False)
    return figure


def _scores(
    summary: pd.DataFrame,
    intervals: pd.DataFrame | None,
    methods: Sequence[str] | None,
    names: Sequence[str],
    unit: str,
) -> Figure:
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, len(names), sharey=True)
    styles = looks(summary, methods)
    for axes, letter, name in zip(panels, "abc", names, strict=True):
        for look in styles:
            _curve(axes, look, _levels(summary, look.label, name, intervals))
        reference = _reference(axes, summary, name)
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_locator(FixedLocator([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
        _edits_axis(axes, summary["edits"])
        _title(axes, name.capitalize(), letter)
    panels[0].set_ylabel(unit)
    _legend(figure, styles, reference)
    return figure


def _levels(
    frame: pd.DataFrame,
    method: str,
    column: str,
    intervals: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """edits (index), mean, low, high: over the seeds of one method, or from `intervals`."""
    rows = frame[frame["method"] == method]
    levels = rows.groupby("edits")[column].agg(mean="mean", low="min", high="max")
    if intervals is not None and rows["seed"].nunique() == 1:
        bounds = intervals[intervals["method"] == method].set_index("edits")
        levels["low"] = bounds[f"{column}_low"].reindex(levels.index)
        levels["high"] = bounds[f"{column}_high"].reindex(levels.index)
    return levels


def _curve(axes: Axes, look: Look, levels: pd.DataFrame) -> None:
    """One method's line and its spread: whiskers, or a band where whiskers would crowd."""
    place = look.beside(axes)
    levels = levels.replace([np.inf, -np.inf], np.nan)  # a gap: infinity has no place on an axis
    crowded = len(levels) > MARKS
    every = math.ceil(len(levels) / MARKS)
    spread: dict[str, Any] = {"color": look.colour, "transform": place, "zorder": 2.0}
    if crowded:
        axes.fill_between(
            levels.index, levels["low"], levels["high"], alpha=0.14, linewidth=0.0, **spread
        )
    else:
        axes.vlines(levels.index, levels["low"], levels["high"], linewidth=0.8, alpha=0.6, **spread)
    # Methods mark different checkpoints where not all can be marked.
    marks = (look.place % every, every)
    axes.plot(levels.index, levels["mean"], transform=place, markevery=marks, **look.line)


def _reference(axes: Axes, summary: pd.DataFrame, column: str) -> Line2D | None:
    """A thin line at the unedited model's value, if the summary has it."""
    before = summary.loc[summary["edits"] == 0, column]
    if before.isna().all():
        return None
    return axes.axhline(
        before.mean(), color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="unedited model"
    )


def _edits_axis(axes: Axes, edits: Sequence[int] | pd.Series | pd.Index) -> None:
    """A tick at every checkpoint, or at round numbers where those would run into each other."""
    stops = np.unique(np.asarray(edits))
    if len(stops) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(stops)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    margin = 0.09 * max(1.0, float(stops[-1] - stops[0]))
    axes.set_xlim(stops[0] - margin, stops[-1] + margin)
    axes.set_xlabel("Number of edits")


def _change_axis(axes: Axes, change: pd.Series) -> None:
    """A signed logarithmic axis with a linear, shaded middle of +-10^LEAST."""
    middle = 10.0**LEAST
    finite = change[np.isfinite(change)]
    top, bottom = _decade(finite.max()), _decade(-finite.min())
    axes.set_yscale("symlog", linthresh=middle, linscale=0.8)
    step = 2 if max(top, bottom) - LEAST > 3 else 1
    ups = [10.0**power for power in range(LEAST, top + 1, step)]
    downs = [-(10.0**power) for power in range(LEAST, bottom + 1, step)]
    axes.yaxis.set_major_locator(FixedLocator([*reversed(downs), 0.0, *ups]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.set_ylim(-1.6 * 10.0**bottom, 1.6 * 10.0**top)
    axes.axhspan(-middle, middle, color="#f1f1f1", zorder=0.5, linewidth=0.0)
    axes.axhline(0.0, color=GREY, linewidth=0.6, zorder=1.0)


def _decade(largest: float) -> int:
    """The power of ten that covers `largest`, at least LEAST."""
    return LEAST if not largest > 10.0**LEAST else math.ceil(math.log10(largest))


def _power(value: float, _: int | None = None) -> str:
    """A tick's label: 0, +1, +10^{-2}, always signed."""
    if value == 0.0:
        return "0"
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    power = round(math.log10(abs(value)))
    return f"{sign}1" if power == 0 else f"{sign}$10^{{{power}}}$"


def _map_ticks(axes: Axes, origins: np.ndarray, stops: np.ndarray) -> None:
    """Ticks of a retention map: a group's first and last request, a checkpoint's edits."""
    firsts = [1, *(int(stop) + 1 for stop in origins[:-1])]
    groups = [f"{a}\N{EN DASH}{b}" for a, b in zip(firsts, origins, strict=True)]
    ticks = ((axes.yaxis, groups, 6), (axes.xaxis, [str(stop) for stop in stops], 4))
    for axis, names, room in ticks:
        every = math.ceil(len(names) / room)
        axis.set_ticks(range(0, len(names), every), labels=names[::every])


def _title(axes: Axes, text: str, letter: str = "") -> None:
    axes.set_title(f"$\\bf{{({letter})}}$ {text}" if letter else text)


def _legend(figure: Figure, styles: Sequence[Look], reference: Line2D | None = None) -> None:
    """One legend for all panels, below them, in as few rows as the names allow."""
    handles = []
    for look in styles:
        line = look.line
        line.pop("zorder")
        handles.append(Line2D([], [], **line))
    handles += [reference] if reference is not None else []
    # Points: 4.4 for a letter, 44 for the sample of the line and the gaps.
    widths = [4.4 * len(str(handle.get_label())) + 44.0 for handle in handles]
    room = figure.get_figwidth() * 72.0
    columns = len(handles)
    if sum(widths) > room:
        rows = math.ceil(len(handles) / max(1, int(room / max(widths))))
        columns = math.ceil(len(handles) / rows)
        figure.set_figheight(figure.get_figheight() + 0.16 * (rows - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _small_multiples(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels that share their axes."""
    columns = min(PANELS, count)
    rows = math.ceil(count / columns)
    # Few panels stay as wide as they would be in a full row, with room for the outer labels.
    width = WIDTH if columns == PANELS else 1.2 + columns * (WIDTH - 1.0) / PANELS
    figure = Figure(figsize=(max(width, 3.4), 1.75 * rows + 0.5))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def _outer_labels(panels: Sequence[Axes], x: str, y: str) -> None:
    """Axis names on the left column and under the lowest panel of each column only."""
    for place, axes in enumerate(panels):
        lowest = place + PANELS >= len(panels)
        axes.tick_params(axis="x", labelbottom=lowest)
        axes.set_xlabel(x if lowest else "")
        axes.set_ylabel(y if place % PANELS == 0 else "")


def _metric(matrix: pd.DataFrame) -> str:
    found = list(matrix["metric"].unique())
    if len(found) != 1:
        raise ValueError(f"a figure shows one metric, the frame has {found}")
    return str(found[0])
