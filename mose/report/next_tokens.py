"""The table of what edits did to next-token distributions (`mose.evaluation.next_tokens`)."""

from __future__ import annotations

import pandas as pd

from mose.report.tables import CHECKPOINT

MEASURES = ["kl", "top1", "top5", "top10"]


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per checkpoint and kind: CHECKPOINT, kind, requests, prompts, MEASURES.

    rows: CHECKPOINT columns and those of `mose.evaluation.next_tokens`. Means are over a request's
    prompts, then over requests; of held-out text over windows, and `requests` is 0 there.
    """
    by = [*CHECKPOINT, "kind"]
    per_request = rows.groupby([*by, "order"], sort=False)[MEASURES].mean()
    table = per_request.groupby(by, sort=False).mean()
    table.insert(0, "prompts", rows.groupby(by, sort=False).size())
    edited = rows[rows["order"] >= 0]
    requests = edited.groupby(by, sort=False)["order"].nunique()
    table.insert(0, "requests", requests.reindex(table.index).fillna(0).astype(int))
    return table.reset_index()
