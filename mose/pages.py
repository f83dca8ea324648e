"""Pages of results: prose with a directive where a table belongs, so that no number is typed.

`<!-- summary: FILE -->` stands for a summary (mean over seeds at the last checkpoint, with the
spread where there are several), `<!-- scan: FILE -->` for the ranking of a scan. Files are CSV
beside the template.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mose import tables
from mose.errors import StoreError

DIRECTIVE = re.compile(r"^<!-- (\w+): (\S+) -->$", re.MULTILINE)
RUN = ("model", "dataset")
RATIOS = {"frobenius_ratio": "{:.4f}", "condition_ratio": "{:.4f}", "perplexity": "{:.2f}"}


def render(template: str, folder: Path) -> str:
    """The page: `template` with every directive followed by its table."""

    def fill(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind not in TABLES:
            raise StoreError(f"{kind}: no such kind of table; known are {', '.join(TABLES)}")
        if not (folder / name).is_file():
            raise StoreError(f"{folder / name}: no such table; the page asks for it")
        return f"{match.group()}\n{TABLES[kind](tables.read(folder / name))}"

    return DIRECTIVE.sub(fill, template)


def summary_table(summary: pd.DataFrame) -> str:
    """One row per model, data set and method: unedited, then each method at its last checkpoint.

    Mean over seeds, and the standard deviation over them (n - 1) where there are several.
    """
    measures = [*tables.SCORES, "perplexity", *tables.RATIOS]
    rows = []
    for (model, dataset), part in summary.groupby(list(RUN), sort=False):
        where = f"{dataset}, {model}"
        before = part[part["edits"] == 0].drop_duplicates("seed").assign(method="unedited")
        last = part[part["edits"] == part.groupby("method")["edits"].transform("max")]
        for method, group in pd.concat([before, last]).groupby("method", sort=False):
            seeds = group["seed"].nunique()
            edits = int(group["edits"].max())
            cells = [_spread(group[name], RATIOS.get(name, "{:.3f}")) for name in measures]
            rows.append([where, str(method), str(edits), str(seeds), *cells])
    return markdown(["data set, model", "method", "edits", "seeds", *measures], rows)


def scan_table(ranking: pd.DataFrame) -> str:
    """All variants of a scan, the best of each entry first and bold; of the options those that
    vary within an entry."""
    columns = list(ranking.columns)
    options = columns[columns.index("rank") + 1 : columns.index("score")]
    measures = [name for name in columns[columns.index("score") :] if name not in RUN]
    rows = []
    for entry, group in ranking.groupby("entry", sort=False):
        varied = [name for name in options if group[name].nunique() > 1]
        for _, row in group.iterrows():
            settings = ", ".join(f"{name} {_cell(row[name], '{:g}')}" for name in varied)
            scores = [_cell(row[name], RATIOS.get(name, "{:.3f}")) for name in measures]
            cells = [str(entry), settings, *scores]
            rows.append([f"**{cell}**" if row["rank"] == 1 and cell else cell for cell in cells])
    return markdown(["entry", "settings", *measures], rows)


def _cell(value: object, form: str) -> str:
    if pd.isna(value):
        return ""
    return form.format(value) if isinstance(value, float) else str(value)


def _spread(values: pd.Series, form: str) -> str:
    mean = form.format(values.mean())
    return mean if len(values) == 1 else f"{mean} ± {form.format(values.std())}"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A pipe table; underscores of column names become spaces."""
    lines = [[name.replace("_", " ") for name in head], ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[pd.DataFrame], str]] = {"summary": summary_table, "scan": scan_table}
