"""Metrics of facts from two scorings of the same prompts: by the edited and the unedited model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mose.report.prompt_metrics import score_metrics

Rows = Sequence[Mapping[str, Any]]


def metrics_of(edited: Rows, unedited: Rows, each: bool = False) -> pd.DataFrame:
    """A row per metric: its mean over prompts, then over facts, and the number of facts.

    edited, unedited: rows of `mose.evaluation.prompt_scores.score_requests`.
    each: instead a row per prompt and metric (`mose.report.prompt_metrics.score_metrics`).
    """
    metrics = score_metrics(pd.DataFrame(edited), pd.DataFrame(unedited))
    if each:
        return metrics
    by_fact = metrics.groupby(["metric", "order"], sort=False)["value"].mean()
    table = by_fact.groupby("metric", sort=False).agg(["mean", "size"])
    return table.rename(columns={"mean": "value", "size": "facts"}).reset_index()
