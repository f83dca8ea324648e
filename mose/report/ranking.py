"""Ranks the variants of a scan, to choose settings."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mose.report.tables import harmonic_mean, last_common

RANKED_BY = ["reliability", "generalization", "locality"]
SHOWN = [*RANKED_BY, "efficacy", "paraphrase", "neighborhood", "perplexity"]


def rank(
    summary: pd.DataFrame, entries: Mapping[str, str], options: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row per variant at the last checkpoint of all, mean over seeds, best of an entry first.

    summary: of `mose.report.tables.summarize`, one model and data set.
    entries: label of a variant -> its entry of the config's `methods:`. options: label -> all its
    options.
    Ranked by the harmonic mean of reliability, generalization and locality ("score"), then by
    perplexity. Columns: entry, variant, rank, options that differ within an entry, score, and the
    measures. Raises KeyError for a label that `entries` or `options` lacks.
    """
    last = summary[summary["edits"] == last_common(summary)]
    table = last.groupby("method", sort=False)[SHOWN].mean().rename_axis("variant").reset_index()
    table.insert(0, "entry", [entries[label] for label in table["variant"]])
    table.insert(2, "score", harmonic_mean(table[RANKED_BY].to_numpy(dtype="float64")))
    table = table.sort_values(["score", "perplexity"], ascending=[False, True], kind="stable")
    table.insert(2, "rank", table.groupby("entry").cumcount() + 1)
    values = pd.DataFrame([{k: str(v) for k, v in options[la].items()} for la in table["variant"]])
    values.index = table.index
    varied = values.groupby(table["entry"]).nunique().gt(1).any()
    for name in reversed([column for column in values if varied[column]]):
        table.insert(3, name, values[name])
    order = list(dict.fromkeys(entries.values()))
    by_entry = table["entry"].map(order.index)
    return table.assign(place=by_entry).sort_values(["place", "rank"]).drop(columns="place")


def rank_scan(
    summary: pd.DataFrame,
    entries: Mapping[str, str],
    options: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """`rank` for every model and data set of a scan, and the best settings of each.

    summary: of the whole experiment. options: by model, then by label.
    Returns the concatenated rankings with columns model and dataset; and, by "model, dataset" and
    entry, the options of the best variant.
    """
    parts, best = [], {}
    for model, own in options.items():
        of_model = summary[summary["model"] == model]
        for dataset, part in of_model.groupby("dataset", sort=False):
            table = rank(part, entries, own)
            parts.append(table.assign(model=model, dataset=dataset))
            first = table[table["rank"] == 1]
            best[f"{model}, {dataset}"] = {
                entry: own[label]
                for entry, label in zip(first["entry"], first["variant"], strict=True)
            }
    return pd.concat(parts, ignore_index=True), best


def format_ranking(table: pd.DataFrame) -> str:
    """The table of `rank_scan` as plain text."""
    shown = table.drop(columns="variant").to_string(index=False, na_rep="", float_format="%.3f")
    return f"{shown}\n"
