"""Where a run collapses, and what collapse goes with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mose.report.drift import MEASURES, drift, rank_correlation
from mose.report.tables import CHECKPOINT, RUN, SCORES

COLLAPSED = 0.6
"""A score has collapsed once it is below this share of its first value."""
FOLLOWED = ("reliability", "generalization", "locality", "perplexity", "first_group")
"""Scores that measures of drift are compared with. first_group: reliability of the requests that
were edited before the first checkpoint."""


def collapse_points(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per run and score of SCORES: at which checkpoint it collapsed.

    summary: of `tables.summarize`. Columns: RUN, metric, first_edits and first (the first
    checkpoint after an edit, and the score there), collapse (edits at the first later checkpoint
    where the score is below COLLAPSED times `first`; NaN if there is none), last_edits, last.
    A score that begins at 0, or that the run lacks, has no row.
    """
    rows = []
    edited = summary[summary["edits"] > 0].sort_values("edits", kind="stable")
    for key, run in edited.groupby(RUN, sort=False):
        for metric in SCORES:
            known = run.dropna(subset=[metric])
            if known.empty or known[metric].iloc[0] <= 0.0:
                continue
            first = known[metric].iloc[0]
            fallen = known.loc[known[metric] < COLLAPSED * first, "edits"]
            rows.append(
                {
                    **dict(zip(RUN, key, strict=True)),
                    "metric": metric,
                    "first_edits": known["edits"].iloc[0],
                    "first": first,
                    "collapse": fallen.iloc[0] if len(fallen) else np.nan,
                    "last_edits": known["edits"].iloc[-1],
                    "last": known[metric].iloc[-1],
                }
            )
    columns = [*RUN, "metric", "first_edits", "first", "collapse", "last_edits", "last"]
    return pd.DataFrame(rows, columns=columns)


def drift_correlations(
    summary: pd.DataFrame, stability: pd.DataFrame, matrix: pd.DataFrame
) -> pd.DataFrame:
    """Spearman's rank correlation of every measure of drift with every score of FOLLOWED.

    summary: of `tables.summarize`; stability: rows per layer; matrix: of
    `retention.retention_matrix`. One row per model, data set, measure and score, over all methods,
    seeds and checkpoints. Columns: model, dataset, measure, score, correlation (NaN if one of the
    two is constant), points, methods (their numbers).
    """
    scores = summary.merge(_first_group(matrix), on=CHECKPOINT, how="left", validate="1:1")
    moved = drift(summary, stability).drop(columns="reliability")
    joined = moved.merge(scores, on=CHECKPOINT, validate="1:1")
    rows = []
    for (model, dataset), part in joined.groupby(["model", "dataset"], sort=False):
        for measure in MEASURES:
            for score in FOLLOWED:
                known = part.dropna(subset=[score])
                rows.append(
                    {
                        "model": model,
                        "dataset": dataset,
                        "measure": measure,
                        "score": score,
                        "correlation": rank_correlation(known, measure, score),
                        "points": len(known),
                        "methods": known["method"].nunique(),
                    }
                )
    columns = ["model", "dataset", "measure", "score", "correlation", "points", "methods"]
    return pd.DataFrame(rows, columns=columns)


def _first_group(matrix: pd.DataFrame) -> pd.DataFrame:
    """CHECKPOINT and first_group, of a retention matrix."""
    rows = matrix[matrix["metric"] == "reliability"]
    first = rows[rows["origin"] == rows.groupby(RUN)["origin"].transform("min")]
    return first[[*CHECKPOINT, "value"]].rename(columns={"value": "first_group"})
