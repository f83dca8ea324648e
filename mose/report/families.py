"""Ranks of the methods by families of measures, which need not agree."""

from __future__ import annotations

import pandas as pd

from mose.report.ranking import RANKED_BY
from mose.report.tables import MEMIT_SCORES, harmonic_mean, last_common

FAMILIES = {
    "likelihood": MEMIT_SCORES,
    "tokens": RANKED_BY,
    "exact": ["reliability_exact", "generalization_exact", "locality_exact"],
    "generation": ["reliability_generated_exact", "generalization_generated_exact"],
}
"""Families of scores between 0 and 1: which of two objects is likelier; shares of tokens; all
tokens at once; generated answers."""
PLACE = ["model", "dataset"]


def ranks(means: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """One row per method, model and data set, at the last checkpoint that all methods there have.

    means: of `intervals.means_with_intervals`; summary: of `tables.summarize`. Columns: PLACE,
    edits, method, then for each of FAMILIES its score, the harmonic mean of its metrics (0 if one
    is 0), and its rank, and the same for perplexity. Values are means over seeds. Rank 1 is the
    best; equal values share the mean of their ranks. A family that was not measured is empty.
    """
    names = [*FAMILIES, "perplexity"]
    columns = [*PLACE, "edits", "method", *(f"{n}{end}" for n in names for end in ("", "_rank"))]
    parts = []
    for _, part in summary[summary["edits"] > 0].groupby(PLACE, sort=False):
        last = part[part["edits"] == last_common(part)]
        if last.empty:
            continue
        keys = [*PLACE, "edits", "method"]
        table = last.groupby(keys, sort=False)["perplexity"].mean().reset_index()
        values = _values(means, table[keys])
        for name, metrics in FAMILIES.items():
            own = values.reindex(columns=metrics)
            table[name] = harmonic_mean(own.to_numpy(dtype="float64"))
        for name in names:
            best_first = table[name] if name == "perplexity" else -table[name]
            table[f"{name}_rank"] = best_first.rank(method="average")
        parts.append(table[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _values(means: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every metric, a column each, in the order of `rows`."""
    keys = list(rows.columns)
    own = means[means["when"] == "retention"].merge(rows, on=keys)
    wide = own.groupby([*keys, "metric"], sort=False)["mean"].mean().unstack("metric")
    return wide.reindex(pd.MultiIndex.from_frame(rows))
