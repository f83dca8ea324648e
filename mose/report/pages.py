"""Formats tables as text, and fills tables and numbers into pages of Markdown.

A line of a page that is a directive is followed by its table:
`<!-- summary: FILE -->`: the summary at the last checkpoint, mean and spread over seeds;
`<!-- trajectory: FILE -->`: the summary at every checkpoint;
`<!-- protocols: FILE -->`: success by teacher forcing and by generation;
`<!-- scan: FILE -->`: the ranking of a scan;
`<!-- abilities: FILE -->`: the comparison with tasks;
`<!-- leaderboard: FILE -->`: rows of the runs that the file lists, a table per number of edits;
`<!-- differences: FILE -->`: differences between methods with their intervals;
`<!-- table: FILE -->`: the file as it is.
`<!-- KIND: FILE KEY=VALUE ... -->`: the same, of the rows where the keys have these values.

In a sentence, `{{FILE COLUMN KEY=VALUE ...}}` becomes a number: the column in the rows where the
keys have these values, mean and spread over seeds. Files are CSV, in the template's folder. Spread
is the standard deviation over seeds (n - 1).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mose.errors import StoreError
from mose.report import tables
from mose.report.leaderboard import leaderboard

DIRECTIVE = re.compile(r"^<!-- (\w+): (\S+)((?: \w+=\S+)*) -->$", re.MULTILINE)
VALUE = re.compile(r"\{\{(\S+) (\w+)((?: \w+=\S+?)*)\}\}")
# A table has one block of rows per value of these columns.
BLOCK = ("model", "dataset")
UNEDITED = "unedited"
DIGITS = {"frobenius_ratio": "{:.4f}", "condition_ratio": "{:.4f}", "perplexity": "{:.2f}"}
# In a sentence; shares have two decimals.
DIGITS_IN_PROSE = {
    "perplexity": "{:.1f}", "difference": "{:+.3f}", "low": "{:+.3f}", "high": "{:+.3f}",
}  # fmt: skip

# Headings of `format_summary`, on two lines so that a row fits in 120 columns.
HEADINGS = {
    "method": ("", "method"),
    "seed": ("", "seed"),
    "edits": ("", "edits"),
    "reliability": ("relia-", "bility"),
    "generalization": ("general-", "ization"),
    "locality": ("", "locality"),
    "efficacy": ("", "efficacy"),
    "paraphrase": ("para-", "phrase"),
    "neighborhood": ("neighbor-", "hood"),
    "perplexity": ("perplex-", "ity"),
    "frobenius_ratio": ("Frobenius", "ratio"),
    "condition_ratio": ("condition", "ratio"),
}


def format_summary(summary: pd.DataFrame) -> str:
    """The summary as plain text, one block per model and dataset, in the summary's row order.

    Fits in 120 columns for method names of up to 29 characters. Shares have three decimals,
    perplexity two, ratios six (to tell drift from 1.000000); "-" is a missing value.
    """
    several = len(summary[["model", "dataset"]].drop_duplicates()) > 1
    blocks = []
    for (model, dataset), group in summary.groupby(["model", "dataset"], sort=False):
        heading = [f"{model}, {dataset}"] if several else []
        blocks.append("\n".join([*heading, *_lines(group)]))
    return "\n\n".join(blocks)


def _lines(summary: pd.DataFrame) -> list[str]:
    cells = {name: [_plain_cell(name, value) for value in summary[name]] for name in HEADINGS}
    width = {name: max(len(text) for text in [*HEADINGS[name], *cells[name]]) for name in HEADINGS}
    gap = "  " if sum(width.values()) + 2 * (len(width) - 1) <= 120 else " "
    above, below = zip(*HEADINGS.values(), strict=True)
    rows = [above, below, *zip(*cells.values(), strict=True)]
    lines = [
        gap.join(
            text.ljust(width[name]) if name == "method" else text.rjust(width[name])
            for name, text in zip(HEADINGS, row, strict=True)
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return [*lines[:2], rule, *lines[2:]]


def _plain_cell(name: str, value: Any) -> str:
    if name in ("method", "seed", "edits"):
        return str(value)
    if pd.isna(value):
        return "-"
    if name in tables.RATIOS:
        return f"{value:.6f}" if abs(value) < 1e3 else f"{value:.6g}"
    if name == "perplexity":
        return f"{value:.2f}" if abs(value) < 1e5 else f"{value:.3g}"
    return f"{value:.3f}"


def render(template: str, folder: Path) -> str:
    """The page: `template` with tables and numbers filled in.

    Raises StoreError for a missing table, and for a number without exactly one row per seed.
    """

    def table_of(match: re.Match[str]) -> str:
        kind, name, conditions = match.groups()
        if kind == "leaderboard":
            board = leaderboard(_read(folder / name), lambda table: _read(folder / table))
            return f"{match.group()}\n{leaderboard_tables(board)}"
        if kind not in TABLES:
            raise StoreError(f"{kind}: no such kind of table; known are {', '.join(TABLES)}")
        rows = _selected(_read(folder / name), _wanted(conditions))
        if rows.empty:
            raise StoreError(f"{folder / name}: {match.group()}: no such rows")
        return f"{match.group()}\n{TABLES[kind](rows)}"

    def number_of(match: re.Match[str]) -> str:
        name, column, conditions = match.groups()
        try:
            return value(_read(folder / name), column, _wanted(conditions))
        except StoreError as error:
            raise StoreError(f"{folder / name}: {match.group()}: {error}") from None

    return VALUE.sub(number_of, DIRECTIVE.sub(table_of, template))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise StoreError(f"{path}: no such table, but the page names it")
    return tables.read(path)


def _wanted(conditions: str) -> dict[str, str]:
    return dict(part.split("=") for part in conditions.split())


def _selected(table: pd.DataFrame, wanted: Mapping[str, str]) -> pd.DataFrame:
    """The rows whose columns have these values, as text. Raises StoreError for other columns."""
    for name, text in wanted.items():
        if name not in table:
            raise StoreError(f"no column {name!r}; there are {', '.join(table.columns)}")
        table = table[table[name].astype(str) == text]
    return table


def value(table: pd.DataFrame, column: str, wanted: Mapping[str, str]) -> str:
    """One number for a sentence, as text: mean and spread over seeds of `column`.

    wanted: columns and their values, as text, that select the rows. Raises StoreError unless they
    select one row per seed.
    """
    if column not in table:
        raise StoreError(f"no column {column!r}; there are {', '.join(table.columns)}")
    table = _selected(table, wanted)
    seeds = table["seed"].nunique() if "seed" in table else 1
    if len(table) != max(seeds, 1):
        raise StoreError(f"expected one row per seed, found {len(table)} rows of {seeds} seeds")
    return _spread(table[column], DIGITS_IN_PROSE.get(column, "{:.2f}"))


def summary_table(summary: pd.DataFrame) -> str:
    """One row per model, data set and method: unedited, then each method at its last checkpoint."""
    return _table(summary, lambda part: list(last_checkpoints(part).items()))


def trajectory_table(summary: pd.DataFrame) -> str:
    """As `summary_table`, with a row for every checkpoint of a method."""

    def rows(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        edited = part[part["edits"] > 0].groupby(["method", "edits"], sort=False)
        groups = [(str(method), group) for (method, _), group in edited]
        return [(UNEDITED, last_checkpoints(part)[UNEDITED]), *groups]

    return _table(summary, rows)


def _table(
    summary: pd.DataFrame, rows_of: Callable[[pd.DataFrame], list[tuple[str, pd.DataFrame]]]
) -> str:
    measures = [*tables.SCORES, "perplexity", *tables.RATIOS]
    rows = []
    for (model, dataset), part in summary.groupby(list(BLOCK), sort=False):
        for method, group in rows_of(part):
            head = [f"{dataset}, {model}", method, str(int(group["edits"].max()))]
            cells = [_spread(group[name], DIGITS.get(name, "{:.3f}")) for name in measures]
            rows.append([*head, str(group["seed"].nunique()), *cells])
    return markdown(["data set, model", "method", "edits", "seeds", *measures], rows)


def last_checkpoints(part: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of the unedited model, one per seed, and of each method's last checkpoint, by method.

    part: the rows of one model and data set.
    """
    before = part[part["edits"] == 0].drop_duplicates("seed")
    last = part[part["edits"] == part.groupby("method")["edits"].transform("max")]
    methods = {str(method): group for method, group in last.groupby("method", sort=False)}
    return {UNEDITED: before, **methods}


def protocols_table(protocols: pd.DataFrame) -> str:
    """Success at each method's last checkpoint, by teacher forcing and by generation."""
    head = ["data set, model", "metric", "method", "edits", "requests", *tables.PROTOCOLS]
    rows = []
    for (model, dataset, metric), part in protocols.groupby([*BLOCK, "metric"], sort=False):
        for method, group in last_checkpoints(part).items():
            counts = [str(int(group[name].max())) for name in ("edits", "requests")]
            cells = [_spread(group[name], "{:.3f}") for name in tables.PROTOCOLS]
            rows.append([f"{dataset}, {model}", str(metric), method, *counts, *cells])
    return markdown(head, rows)


def abilities_table(comparison: pd.DataFrame) -> str:
    """The paper's table: edit scores, task scores, and mean retained ability in percent."""
    names = [n for n in comparison.columns if not n.startswith("retained") and n not in BLOCK]
    rows = []
    for _, row in comparison.iterrows():
        bounds = (row["retained"], row["retained_low"], row["retained_high"])
        retained = "" if pd.isna(row["retained"]) else "{:.1f} ({:.1f} to {:.1f})".format(*bounds)
        cells = [_cell(row[name], "{:.3f}") for name in names]
        rows.append([f"{row['dataset']}, {row['model']}", *cells, retained])
    return markdown(["data set, model", *names, "retained %"], rows)


def differences_table(differences: pd.DataFrame) -> str:
    """A row per pair of methods: each metric with its 95 % interval, in bold if 0 is outside.

    differences: of `intervals.differences`. Of each pair the last checkpoint, best first.
    """
    pair = ["baseline", "seed", "method"]
    last = differences[differences["edits"] == differences.groupby(pair)["edits"].transform("max")]
    names = list(dict.fromkeys(last["metric"]))
    rows = []
    for (baseline, seed), block in last.groupby(pair[:2], sort=False):
        best_first = block[block["metric"] == names[-1]].sort_values(
            "difference", ascending=False, kind="stable"
        )
        for method in best_first["method"]:
            own = block[block["method"] == method].set_index("metric")
            cells = [_difference(own.loc[name]) for name in names]
            edits = str(own["edits"].iloc[0])
            rows.append([str(method), str(baseline), edits, str(seed), *cells])
    shown = ["harmonic mean" if name == "edit_score" else name for name in names]
    return markdown(["method", "less", "edits", "seed", *shown], rows)


def _difference(row: pd.Series) -> str:
    text = "{:+.3f} ({:+.3f} to {:+.3f})".format(*row[["difference", "low", "high"]])
    return f"**{text}**" if row["low"] > 0 or row["high"] < 0 else text


def scan_table(ranking: pd.DataFrame) -> str:
    """All variants of a scan, the best of each entry first and in bold.

    Only options that vary within an entry are shown.
    """
    columns = list(ranking.columns)
    options = columns[columns.index("rank") + 1 : columns.index("score")]
    measures = [name for name in columns[columns.index("score") :] if name not in BLOCK]
    rows = []
    for entry, group in ranking.groupby("entry", sort=False):
        varied = [name for name in options if group[name].nunique() > 1]
        for _, row in group.iterrows():
            settings = ", ".join(f"{name} {_cell(row[name], '{:g}')}" for name in varied)
            scores = [_cell(row[name], DIGITS.get(name, "{:.3f}")) for name in measures]
            cells = [str(entry), settings, *scores]
            rows.append([f"**{cell}**" if row["rank"] == 1 and cell else cell for cell in cells])
    return markdown(["entry", "settings", *measures], rows)


def leaderboard_tables(board: pd.DataFrame) -> str:
    """A heading and a table per number of edits; board: of `leaderboard`."""
    parts = []
    for edits, rows in board.groupby("edits", sort=False):
        cells = [
            [_cell(value, DIGITS.get(str(name), "{:.3f}")) for name, value in row.items()]
            for _, row in rows.drop(columns="edits").iterrows()
        ]
        head = [name for name in rows.columns if name != "edits"]
        parts.append(f"### {edits} edits\n\n{markdown(head, cells)}")
    return "\n\n".join(parts)


def plain_table(table: pd.DataFrame) -> str:
    """All rows and columns; floats have three decimals."""
    rows = [[_cell(value, "{:.3f}") for value in row] for row in table.itertuples(index=False)]
    return markdown(list(table.columns), rows)


def _cell(value: object, form: str) -> str:
    if pd.isna(value):
        return ""
    return form.format(value) if isinstance(value, float) else str(value)


def _spread(values: pd.Series, form: str) -> str:
    mean = form.format(values.mean())
    return mean if len(values) == 1 else f"{mean} ± {form.format(values.std())}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A pipe table. Underscores of column names become spaces; "<" and "|" in cells are escaped."""
    cells = [[cell.replace("<", "&lt;").replace("|", "\\|") for cell in row] for row in rows]
    lines = [[name.replace("_", " ") for name in head], ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[pd.DataFrame], str]] = {
    "summary": summary_table,
    "trajectory": trajectory_table,
    "protocols": protocols_table,
    "abilities": abilities_table,
    "scan": scan_table,
    "differences": differences_table,
    "table": plain_table,
}
