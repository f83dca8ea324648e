"""How scores of earlier edits change with later edits, from the metrics of all checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mose.report.tables import RUN, request_means


def retention_matrix(
    metrics: pd.DataFrame,
    metric: str = "reliability",
    ends: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Mean score of each group of requests at its own and every later checkpoint, in long form.

    Columns: RUN, metric, origin, edits, requests, value. A request's group is `origin`, the first
    of `ends` that is greater than the request's order: the number of edits at the end of the group.
    ends: each run's checkpoints by default; ends of batches give finer groups. `value` is the mean
    of `metric` over the group's `requests` at the checkpoint `edits` >= origin.
    Raises ValueError for a request beyond the last end.
    """
    rows = metrics[(metrics["when"] == "retention") & (metrics["metric"] == metric)]
    means = request_means(rows[rows["edits"] > 0])
    parts = []
    for _, run in means.groupby(RUN, sort=False):
        stops = np.unique(run["edits"] if ends is None else np.asarray(ends))
        place = np.searchsorted(stops, run["order"], side="right")
        if len(run) and place.max() == len(stops):
            raise ValueError(f"request {run['order'].max()} lies beyond the last end {stops[-1]}")
        grouped = run.assign(origin=stops[place]).groupby([*RUN, "origin", "edits"])[metric]
        parts.append(grouped.agg(requests="count", value="mean").reset_index())
    columns = [*RUN, "metric", "origin", "edits", "requests", "value"]
    if not parts:
        return pd.DataFrame(columns=columns)
    matrix = pd.concat(parts, ignore_index=True).assign(metric=metric)
    return matrix.loc[matrix["edits"] >= matrix["origin"], columns].reset_index(drop=True)


def forgetting(
    metrics: pd.DataFrame, metric: str = "reliability", by_checkpoint: bool = False
) -> pd.DataFrame:
    """Scores of each batch right after its edit and at the run's last checkpoint.

    metrics: METRICS columns. Columns: RUN, metric, origin (number of edits at the end of the
    batch), requests, immediate, last. Only requests scored both times count. by_checkpoint: groups
    are all batches up to a checkpoint, and origin is the checkpoint.

    What `immediate` lacks was not written; what `last` lacks of it later edits undid.
    """
    rows = metrics[(metrics["metric"] == metric) & (metrics["edits"] > 0)]
    immediate = request_means(rows[rows["when"] == "immediate"])
    later = request_means(rows[rows["when"] == "retention"])
    if by_checkpoint:
        immediate["edits"] = _next_checkpoints(immediate, later)
    later = later[later["edits"] == later.groupby(RUN)["edits"].transform("max")]
    both = immediate.merge(
        later, on=[*RUN, "order", "request"], suffixes=("_now", "_last"), validate="m:1"
    ).rename(columns={"edits_now": "origin"})
    grouped = both.groupby([*RUN, "origin"], sort=False)
    kept = grouped.agg(
        requests=("request", "count"),
        immediate=(f"{metric}_now", "mean"),
        last=(f"{metric}_last", "mean"),
    )
    columns = [*RUN, "metric", "origin", "requests", "immediate", "last"]
    return kept.reset_index().assign(metric=metric)[columns]


def _next_checkpoints(immediate: pd.DataFrame, later: pd.DataFrame) -> pd.Series:
    """The checkpoint at or after each row's `edits`, of the same run. `later`: of checkpoints."""
    stops = later.groupby(RUN)["edits"].unique()
    found = pd.Series(0, index=immediate.index)
    for run, rows in immediate.groupby(RUN, sort=False):
        known = np.sort(stops.loc[run])
        found[rows.index] = known[np.searchsorted(known, rows["edits"])]
    return found


def forgetting_curves(matrix: pd.DataFrame) -> pd.DataFrame:
    """Scores by age: RUN, metric, age, requests, value.

    matrix: of `retention_matrix`. age: number of edits after the end of a group. `value` is the
    mean over all requests of that age. High ages have early requests only.
    """
    aged = matrix.assign(age=matrix["edits"] - matrix["origin"])
    aged["sum"] = aged["value"] * aged["requests"]
    curves = aged.groupby([*RUN, "metric", "age"], sort=False)[["requests", "sum"]].sum()
    curves["value"] = curves["sum"] / curves["requests"].where(curves["requests"] > 0)
    return curves.drop(columns="sum").reset_index()
