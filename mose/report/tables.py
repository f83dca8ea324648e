"""Tables of an experiment, from the rows of single checkpoints.

All functions but `read` take and return data frames. A run is identified by model, dataset, method
and seed; a checkpoint by its run and `edits`, the number of requests edited so far. `identify` puts
these columns in front of a file's rows; every argument `metrics` has them. `prompt_metrics` has the
metrics of single prompts, `intervals` the intervals, `retention` the scores of earlier edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mose.report.prompt_metrics import PROMPT

RUN = ["model", "dataset", "method", "seed"]
CHECKPOINT = [*RUN, "edits"]

SCORES = ["reliability", "generalization", "locality", "efficacy", "paraphrase", "neighborhood"]
RATIOS = ["frobenius_ratio", "condition_ratio"]
MEMIT_SCORES = ["efficacy", "paraphrase", "neighborhood"]
SUMMARY = [
    *("method", "seed", "edits", *SCORES, "perplexity", *RATIOS, "score", "portability"),
    *("model", "dataset"),
]
# Columns behind SUMMARY of experiments that measured them.
OPTIONAL = [
    *("prefixed_reliability", "prefixed_efficacy", "prefixed_kept"),
    *("conflict_later", "conflict_earlier", "conflict_neither", "conflict_score"),
]
METRICS = [*CHECKPOINT, "when", "order", *PROMPT, "metric", "value", "drawn_of"]
"""drawn_of: number of earlier requests of which the row's request is one of a sample
(`measure.earlier`); 0 if its segment is scored whole. A frame without the column has no sample."""

SCORE_DTYPES = {
    **{"request": str, "kind": str, "predicted_true": str},
    **{"answer": str, "generated": str},
}
"""For `pandas.read_csv(..., dtype=SCORE_DTYPES)`: ids that look like numbers stay text."""


def read(path: str | Path) -> pd.DataFrame:
    """A table that `scripts/tables.py` wrote.

    Only empty cells are missing values: a method may be called "null", a request "NA".
    """
    return pd.read_csv(path, dtype=SCORE_DTYPES, keep_default_na=False, na_values=[""])


def identify(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """`frame` with constant columns in front, in the order of the arguments.

    identify(stability, model="gpt2", dataset="counterfact", method="memit", seed=0, edits=20)
    Raises ValueError if the frame has one of the columns.
    """
    clash = [name for name in columns if name in frame.columns]
    if clash:
        raise ValueError(f"the frame already has the identifying columns {clash}")
    named = pd.DataFrame(columns, index=frame.index)
    return pd.concat([named, frame], axis=1)


def request_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over the prompts of each request, so that every request has the same weight.

    One row per checkpoint and request, in the order of `metrics`; one column per metric, NaN if the
    request has no such prompt. Columns in front: CHECKPOINT, order, request, and drawn_of if
    `metrics` has it.
    """
    by = [*CHECKPOINT, "order", "request", *(["drawn_of"] if "drawn_of" in metrics else [])]
    values = metrics.groupby([*by, "metric"], sort=False)["value"].mean()
    # Unstacking changes the order of rows; reindex restores it.
    means = values.unstack("metric").reindex(metrics.groupby(by, sort=False).size().index)
    means = means.reindex(columns=list(dict.fromkeys([*SCORES, "portability", *means.columns])))
    return means.rename_axis(columns=None).reset_index()


def request_weights(means: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """How many requests each of `means` stands for, by column; 0 where it has no value.

    means: of `request_means`. It is 1 where all requests were scored. Of a checkpoint that scored a
    sample of the earlier requests, the sampled ones share the number of all earlier ones, and those
    of the newest segment share theirs, so that a weighted mean is of all requests so far.
    """
    present = means[[*columns]].notna().astype(np.float64)
    if "drawn_of" not in means or not means["drawn_of"].any():
        return present
    of_checkpoint = [means[name] for name in CHECKPOINT]
    earlier = means.groupby(CHECKPOINT, sort=False)["drawn_of"].transform("max")
    sampled = means["drawn_of"] > 0
    number = means["drawn_of"].where(sampled, means["edits"] - earlier)
    having = present.groupby([*of_checkpoint, sampled.rename("sampled")], sort=False)
    shared = present.mul(number, axis=0) / having.transform("sum").where(present > 0, 1.0)
    return shared.where(earlier > 0, present)


def weighted_means(means: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means over requests by checkpoint (the index), weighted by `request_weights`.

    means: of `request_means`. NaN for a column without values.
    """
    weights = request_weights(means, columns)
    at = [means[name] for name in CHECKPOINT]
    total = (means[[*columns]] * weights).groupby(at, sort=False).sum()
    return total / weights.groupby(at, sort=False).sum()


def summarize(
    metrics: pd.DataFrame, stability: pd.DataFrame, perplexity: pd.DataFrame
) -> pd.DataFrame:
    """One row per checkpoint, with the columns SUMMARY: retention over all requests edited so far.

    What was measured of OPTIONAL follows, over the requests that have it.
    metrics: METRICS columns; stability, perplexity: CHECKPOINT columns and those of their files.
    Scores are means over prompts, then over requests. A ratio is that of the edited layer where it
    is farthest from 1. Rows with edits = 0 are the unedited model: `metrics` and `perplexity` must
    have them for each run; their ratios are 1. Raises ValueError for a checkpoint without
    perplexity or stability.
    """
    table = _mean_scores(metrics, "retention")
    table = _join(table, perplexity[[*CHECKPOINT, "perplexity"]], "perplexity")
    unedited = table.loc[table["edits"] == 0, CHECKPOINT].assign(**dict.fromkeys(RATIOS, 1.0))
    ratios = pd.concat([unedited, _most_moved(stability[stability["edits"] > 0])])
    optional = [name for name in OPTIONAL if name in table]
    return _join(table, ratios, "stability")[[*SUMMARY, *optional]]


def immediate(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean scores of each batch right after its edit, one row per run and batch.

    metrics: METRICS columns. Columns: method, seed, edits, requests (their number), SCORES, model,
    dataset.
    """
    table = _mean_scores(metrics, "immediate")
    return table[["method", "seed", "edits", "requests", *SCORES, "model", "dataset"]]


def last_common(summary: pd.DataFrame) -> int | None:
    """The largest number of edits that all methods of a summary have reached; None for none."""
    reached = summary[summary["edits"] > 0].groupby("method", sort=False)["edits"].agg(set)
    common = set.intersection(*reached) if len(reached) else set()
    return max(common, default=None)


def harmonic_mean(values: np.ndarray) -> np.ndarray:
    """Harmonic mean over the last axis; 0 if a value is 0, NaN if one is NaN.

    Of efficacy, paraphrase and neighborhood it is MEMIT's score (arXiv 2210.07229).
    """
    zero = (values == 0.0).any(axis=-1)
    safe = np.where(values == 0.0, 1.0, values)
    mean = values.shape[-1] / (1.0 / safe).sum(axis=-1)
    return np.where(zero & ~np.isnan(values).any(axis=-1), 0.0, mean)


PROTOCOLS = {
    "token_level": "",
    "all_tokens": "_exact",
    "generated_exact": "_generated_exact",
    "generated_contains": "_generated_contains",
}


def protocols(metrics: pd.DataFrame) -> pd.DataFrame:
    """Reliability and generalization by four protocols: one row per checkpoint and metric.

    A column for each of PROTOCOLS, and `requests`, their number. Only requests that were answered
    by greedy generation count, in all columns.
    """
    columns = ["method", "seed", "edits", "metric", "requests", *PROTOCOLS, "model", "dataset"]
    means = request_means(metrics[metrics["when"] == "retention"])
    parts = []
    for metric in ("reliability", "generalization"):
        named = {f"{metric}{end}": name for name, end in PROTOCOLS.items()}
        if not set(named) <= set(means.columns):
            continue
        rows = means.dropna(subset=list(named))
        table = weighted_means(rows, list(named)).rename(columns=named)
        table["requests"] = rows.groupby(CHECKPOINT, sort=False).size()
        parts.append(table.reset_index().assign(metric=metric))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _mean_scores(metrics: pd.DataFrame, when: str) -> pd.DataFrame:
    """CHECKPOINT, requests, means of SCORES, portability and what there is of OPTIONAL over
    requests, and score."""
    means = request_means(metrics[metrics["when"] == when])
    optional = [name for name in OPTIONAL if name in means]
    table = weighted_means(means, [*SCORES, "portability", *optional])
    table["requests"] = means.groupby(CHECKPOINT, sort=False).size()
    table["score"] = harmonic_mean(table[MEMIT_SCORES].to_numpy(np.float64))
    return table.reset_index()


def _join(table: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    """Join one-to-one on CHECKPOINT; ValueError, with `name`, if a row of `other` is missing."""
    joined = table.merge(other, on=CHECKPOINT, how="left", validate="1:1", indicator=True)
    missing = joined.loc[joined["_merge"] == "left_only", CHECKPOINT]
    if len(missing):
        raise ValueError(f"no {name} for the checkpoint {missing.iloc[0].to_dict()}")
    return joined.drop(columns="_merge")


def _most_moved(stability: pd.DataFrame) -> pd.DataFrame:
    """CHECKPOINT and RATIOS: each ratio of the layer where it is farthest from 1."""
    columns = {}
    for ratio in RATIOS:
        # Stable sort: of two layers equally far, the first counts. NaN comes last.
        far = (1.0 - stability[ratio]).abs()
        ordered = stability.loc[far.sort_values(ascending=False, kind="stable").index]
        columns[ratio] = ordered.groupby(CHECKPOINT, sort=False)[ratio].first()
    return pd.DataFrame(columns).reset_index()
