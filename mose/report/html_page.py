"""An experiment on one HTML page: overview, figures with captions, tables to sort and search.

The page needs no network and no other file. Every text on it is escaped.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from mose.report import tables
from mose.report.catalog import Entry

TEMPLATE = Path(__file__).with_suffix(".html")
# A longer table is named, not shown: a browser takes seconds to lay it out.
MOST_ROWS = 5000
LONG = 60  # characters of a cell that is broken into lines
TIMES_CAPTION = (
    "Seconds of a stage's jobs by the clock, over the edits of all seeds, models and data sets. "
    "shared: targets that were sought once for all methods that can use them. Jobs side by side "
    "slow each other down."
)
KEYS = ["model", "dataset", "method", "seed", "edits"]


@dataclass(frozen=True)
class Shown:
    """A table or figure on the page.

    file: its place. content: of a table, the table; of a figure, the bytes of a PNG. about: what
    it is of, such as model and data set.
    """

    entry: Entry
    file: str
    content: pd.DataFrame | bytes
    about: str = ""


@dataclass(frozen=True)
class Overview:
    """What stands first.

    question: what the experiment asks. facts: names and values, such as the number of edits.
    methods: a row per model and variant. configuration: YAML, with all defaults. stages: a row
    per stage, what ran and for how long. times: a PNG of `costs.seconds_per_edit`. summary: of
    `with_intervals`.
    """

    experiment: str
    question: str
    facts: Sequence[tuple[str, str]]
    methods: pd.DataFrame
    configuration: str
    stages: pd.DataFrame
    times: bytes
    summary: pd.DataFrame


def page(overview: Overview, shown: Sequence[Shown]) -> str:
    """The page as text, its sections in the order of `shown`'s categories."""
    categories = list(dict.fromkeys(one.entry.category for one in shown))
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in categories)
    parts = [_overview(overview)]
    for category in categories:
        parts.append(f'<h2 id="{_anchor(category)}">{escape(category)}</h2>')
        parts += [_shown(one) for one in shown if one.entry.category == category]
    title = f"Knowledge editing: {overview.experiment}"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), links=links, body="\n".join(parts)
    )


def with_intervals(summary: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    """The summary as texts, each score with its interval; a row per method, seed and checkpoint.

    summary, intervals: `summary.csv` and `summary_intervals.csv`. A cell with an interval is a
    pair of the text to show and the number to sort by.
    """
    table = summary.merge(intervals, on=KEYS, how="left", validate="one_to_one")
    shown: dict[str, list[Any]] = {name: list(table[name]) for name in KEYS}
    for score in tables.SCORES:
        low, high = f"{score}_low", f"{score}_high"
        if score not in table or low not in table:
            continue
        shown[score] = [
            (f"{mean:.3f} ({a:.3f} to {b:.3f})" if pd.notna(a) else f"{mean:.3f}", mean)
            if pd.notna(mean)
            else None
            for mean, a, b in zip(table[score], table[low], table[high], strict=True)
        ]
    for name in ("perplexity", *tables.RATIOS):
        shown[name] = list(table[name])
    return pd.DataFrame(shown)


def _overview(overview: Overview) -> str:
    facts = pd.DataFrame(overview.facts, columns=["what", "value"])
    hours = overview.stages["seconds"].sum() / 3600
    return "\n".join(
        [
            f"<p>{escape(overview.question)}</p>",
            "<h2>Summary</h2>",
            "<p class=caption>One row per method, seed and checkpoint; in brackets 95 % bootstrap "
            "intervals over requests. Checkpoint 0 is the unedited model.</p>",
            _table(overview.summary),
            "<h2>What ran</h2>",
            _table(facts),
            f"<p class=caption>Together {hours:.2f} hours. Seconds of a stage's jobs are added up; "
            "jobs may have run side by side. Stages that experiments share (model, corpus, second "
            "moments) ran once for all.</p>",
            _table(overview.stages),
            _picture("Seconds an edit", overview.times, TIMES_CAPTION),
            "<h2>Settings</h2>",
            _table(overview.methods),
            f"<details><summary>The whole configuration</summary><pre>"
            f"{escape(overview.configuration)}</pre></details>",
        ]
    )


def _shown(one: Shown) -> str:
    name = f"{one.entry.title}{f': {one.about}' if one.about else ''}"
    about = escape(f"{one.entry.caption} File: {one.file}")
    if isinstance(one.content, bytes):
        return _picture(name, one.content, about)
    caption = f"<p class=caption>{about}</p>"
    rows = len(one.content)
    if rows > MOST_ROWS:
        return f"<h3>Table: {escape(name)}</h3>{caption}<p>{rows} rows: too many to show here.</p>"
    return (
        f"<details><summary>Table: {escape(name)} ({rows} rows)</summary>"
        f"{caption}{_table(one.content)}</details>"
    )


def _picture(name: str, png: bytes, about: str) -> str:
    """A figure with its caption; about: HTML."""
    data = base64.b64encode(png).decode()
    return (
        f"<figure><h3>{escape(name)}</h3>"
        f'<img alt="{escape(name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{about}</figcaption></figure>"
    )


def _table(table: pd.DataFrame) -> str:
    """A table to sort and search."""
    numeric = [_is_numeric(table[name]) for name in table]
    classes = [" class=number" if number else "" for number in numeric]
    head = "".join(
        f"<th{kind}><button>{escape(str(name))}</button></th>"
        for name, kind in zip(table, classes, strict=True)
    )
    columns = [table[name].tolist() for name in table]
    rows = [
        "".join(_cell(value, kind) for value, kind in zip(row, classes, strict=True))
        for row in zip(*columns, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        "<label>Search: <input type=search></label>"
        f"<div class=table><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_numeric(column: pd.Series) -> bool:
    return all(isinstance(v, int | float | tuple) or v is None for v in column.tolist())


def _cell(value: Any, kind: str) -> str:
    """A cell; a number is shown with few digits and sorted by all of them."""
    if value is None or value is pd.NA or (isinstance(value, float) and pd.isna(value)):
        return f"<td{kind}></td>"
    text, number = value if isinstance(value, tuple) else (None, value)
    if isinstance(number, float):
        shown = f"{number:.4g}" if text is None else text
        return f'<td{kind} data-value="{number!r}">{escape(shown)}</td>'
    shown = str(number)
    return f"<td{' class=long' if len(shown) > LONG else kind}>{escape(shown)}</td>"


def _anchor(name: str) -> str:
    return escape(name.lower().replace(" ", "-"))
