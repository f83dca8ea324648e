"""Shared parts of figures: colours, axes, legends, files.

A method has the same colour, marker and line style in every figure, by its place among the methods.
Markers and line styles tell methods apart in grey and for colour-blind readers. Nothing here
changes pyplot or matplotlib's global settings.
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

from mose.storage import files

P = ParamSpec("P")

WIDTH = 6.75
"""Inches: both columns of a conference paper."""
MARKS = 12
"""Maximum number of markers on a line; of more checkpoints, only some are marked."""
PANELS = 4
"""Panels in a row."""

# Okabe & Ito 2008 ("Color Universal Design"), without its yellow: too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "X", "<", "p", ">", "P", "h", "*")
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (5.0, 1.6)),
    (0, (5.0, 1.4, 1.2, 1.4)),
    (0, (1.2, 1.4)),
)
LEAST = -6
"""Relative changes below ten to this power are drawn as none: float32 rounds at 6e-8."""
WITHOUT_DATES: dict[str, dict[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    "png": {"metadata": {"Software": None}, "dpi": 200},
}
GREY = "#767676"
FRESH: dict[str, Any] = {
    "color": GREY,
    "linestyle": (0, (3.0, 1.5)),
    "linewidth": 0.9,
    "marker": "_",
    "markersize": 7.0,
    "zorder": 3.0,
}
"""Line of values right after a request's own batch."""

UNEDITED: dict[str, Any] = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (1, 2))}
"""Line of the unedited model's value."""

MORE, LESS = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
"""More, or less, is better."""

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib: the same figure everywhere
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
    """How one method is drawn, by its place among `count` methods."""

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
        # Shifted by one after each round of markers: 48 methods have distinct pairs.
        return DASHES[(self.place + self.place // len(MARKERS)) % len(DASHES)]

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot`.

        Markers are hollow and broken lines are above solid ones, to keep coinciding curves visible.
        """
        return {
            "label": self.label,
            "color": self.colour,
            "linestyle": self.dashes,
            "marker": self.marker,
            "markerfacecolor": "white",
            # Stars and crosses need more size to stay legible.
            "markersize": 5.6 if self.marker in "XP*" else 4.2,
            "zorder": 3.0 + 0.1 * DASHES.index(self.dashes) + 0.001 * self.place,
        }

    def beside(self, axes: Axes, step: float = 2.4) -> Transform:
        """Data coordinates shifted sideways by a few points, so that bars of several methods at
        one place stand side by side. step: points per method.
        """
        step = min(step, 14.0 / self.count)
        points = step * (self.place - (self.count - 1) / 2.0)
        assert axes.figure is not None
        return axes.transData + ScaledTranslation(points / 72.0, 0.0, axes.figure.dpi_scale_trans)


def looks(frame: pd.DataFrame, methods: Sequence[str] | None = None) -> list[Look]:
    """The look of every method in `frame`, in the order of `methods`.

    Raises ValueError for a frame with several models or datasets, or a method not in `methods`.
    """
    for column in ("model", "dataset"):
        values = list(frame[column].unique()) if column in frame else []
        if len(values) > 1:
            raise ValueError(f"a figure shows one {column}, the frame has {values}")
    present = list(dict.fromkeys(frame["method"]))
    order = present if methods is None else list(dict.fromkeys(methods))
    unknown = [name for name in present if name not in order]
    if unknown:
        raise ValueError(f"the frame has the methods {unknown}, `methods` names only {order}")
    every = [Look(name, place, len(order)) for place, name in enumerate(order)]
    return [look for look in every if look.label in present]


@contextmanager
def paper_style() -> Iterator[None]:
    """Context with the settings of all figures, over matplotlib's defaults."""
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorator: draw within `paper_style`."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with paper_style():
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write `<stem>.pdf` and `<stem>.png` (200 dpi), each atomically; return the two paths.

    Without dates and versions, so that the same figure gives the same bytes.
    """
    stem = Path(stem)
    # The suffix is appended: with_suffix would cut a stem such as "lambda0.5".
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("pdf", "png")]
    with paper_style():
        # The layout is solved once: a second solution can move the axes.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for path in paths:
            kind = path.suffix[1:]
            with files.atomic(path) as temporary:
                figure.savefig(temporary, format=kind, **WITHOUT_DATES[kind])
    return paths


def edits_axis(axes: Axes, edits: Sequence[int] | pd.Series | pd.Index) -> None:
    """Ticks at every checkpoint, or at round numbers if there are more than six."""
    stops = np.unique(np.asarray(edits))
    if len(stops) <= 6:
        axes.xaxis.set_major_locator(FixedLocator(list(stops)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    margin = 0.09 * max(1.0, float(stops[-1] - stops[0]))
    axes.set_xlim(stops[0] - margin, stops[-1] + margin)
    axes.set_xlabel("Number of edits")


def change_axis(axes: Axes, change: pd.Series) -> None:
    """A signed logarithmic axis, linear and shaded within +-10^LEAST."""
    middle = 10.0**LEAST
    finite = change[np.isfinite(change)]
    top, bottom = decade(finite.max()), decade(-finite.min())
    axes.set_yscale("symlog", linthresh=middle, linscale=0.8)
    step = 2 if max(top, bottom) - LEAST > 3 else 1
    ups = [10.0**power for power in range(LEAST, top + 1, step)]
    downs = [-(10.0**power) for power in range(LEAST, bottom + 1, step)]
    axes.yaxis.set_major_locator(FixedLocator([*reversed(downs), 0.0, *ups]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(power))
    axes.set_ylim(-1.6 * 10.0**bottom, 1.6 * 10.0**top)
    axes.axhspan(-middle, middle, color="#f1f1f1", zorder=0.5, linewidth=0.0)
    axes.axhline(0.0, color=GREY, linewidth=0.6, zorder=1.0)


def decade(largest: float) -> int:
    """The exponent of the power of ten at or above `largest`, at least LEAST."""
    return LEAST if not largest > 10.0**LEAST else math.ceil(math.log10(largest))


def power(value: float, _: int | None = None) -> str:
    """Label of a tick, signed: 0, +1, +10^{-2}."""
    if value == 0.0:
        return "0"
    sign = "\N{MINUS SIGN}" if value < 0 else "+"
    power = round(math.log10(abs(value)))
    return f"{sign}1" if power == 0 else f"{sign}$10^{{{power}}}$"


def stamp(figure: Figure, model: str, dataset: str) -> None:
    """Say in the figure what was measured."""
    figure.suptitle(f"{model}, {dataset}", x=0.995, ha="right", fontsize=6.5, color=GREY)


def title(axes: Axes, text: str, letter: str = "") -> None:
    """Set a panel's title, with its letter in bold."""
    axes.set_title(f"$\\bf{{({letter})}}$ {text}" if letter else text)


def legend(figure: Figure, styles: Sequence[Look], reference: Line2D | None = None) -> None:
    """One legend for all panels, below them, in as few rows as the labels allow."""
    handles = []
    for look in styles:
        line = look.line
        line.pop("zorder")
        handles.append(Line2D([], [], **line))
    handles += [reference] if reference is not None else []
    # Points: 4.4 per letter, 44 for the line sample and the gaps.
    widths = [4.4 * len(str(handle.get_label())) + 44.0 for handle in handles]
    room = figure.get_figwidth() * 72.0
    columns = len(handles)
    if sum(widths) > room:
        rows = math.ceil(len(handles) / max(1, int(room / max(widths))))
        columns = math.ceil(len(handles) / rows)
        figure.set_figheight(figure.get_figheight() + 0.16 * (rows - 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def small_multiples(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels that share their axes."""
    return panel_grid(count, shared=True)


def panel_grid(count: int, shared: bool = False, in_row: int = PANELS) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, `in_row` per row. shared: panels share their axes."""
    columns = min(in_row, count)
    rows = math.ceil(count / columns)
    # Few panels are as wide as in a full row, with room for the outer labels.
    width = WIDTH if columns == in_row else 1.2 + columns * (WIDTH - 1.0) / in_row
    figure = Figure(figsize=(max(width, 3.4), 1.75 * rows + 0.5))
    grid = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def outer_labels(panels: Sequence[Axes], x: str, y: str, in_row: int = PANELS) -> None:
    """Axis labels only left of the first column and under the lowest panel of each column."""
    for place, axes in enumerate(panels):
        lowest = place + in_row >= len(panels)
        axes.tick_params(axis="x", labelbottom=lowest)
        axes.set_xlabel(x if lowest else "")
        axes.set_ylabel(y if place % in_row == 0 else "")


def share_axis(axes: Axes) -> None:
    """A vertical axis for shares, 0 to 1."""
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_locator(FixedLocator([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]))
