"""How far the edited matrices are from the unedited ones, beside what the edits score."""

from __future__ import annotations

import pandas as pd

from mose.report.tables import CHECKPOINT

FLOOR = 1e-7
"""Least drift that counts: what is below is rounding to float32 (unit roundoff 6e-8)."""
MEASURES = {
    "norm": "Frobenius norm",
    "condition": "Condition number",
    "change": "Distance",
    "left": "Left subspace",
    "right": "Right subspace",
    "energy": "Energy of rows",
}
"""Measures of drift, 0 for the unedited matrix, and what they are called in a figure."""


def drift(summary: pd.DataFrame, stability: pd.DataFrame) -> pd.DataFrame:
    """One row per run and checkpoint after the first edit: CHECKPOINT, reliability and MEASURES.

    summary: of `tables.summarize`; stability: rows per layer. Each measure is that of the layer
    where it is largest: distances of norm, condition number and hyperspherical energy from the
    unedited ones, ||W_n - W_0|| / ||W_0||, and 1 minus the similarity of the leading subspaces.
    What is below FLOOR is set to it, so that rounding gives no order.
    """
    far = stability[CHECKPOINT].assign(
        norm=(stability["frobenius_ratio"] - 1.0).abs(),
        condition=(stability["condition_ratio"] - 1.0).abs(),
        change=stability["relative_change"],
        left=1.0 - stability["left_similarity"],
        right=1.0 - stability["right_similarity"],
        energy=(stability["energy_ratio"] - 1.0).abs(),
    )
    largest = far.groupby(CHECKPOINT, sort=False)[list(MEASURES)].max().clip(lower=FLOOR)
    edited = summary.loc[summary["edits"] > 0, [*CHECKPOINT, "reliability"]]
    return edited.merge(largest.reset_index(), on=CHECKPOINT, validate="1:1")


def rank_correlation(rows: pd.DataFrame, measure: str, score: str = "reliability") -> float:
    """Spearman's rank correlation of a measure with a score; NaN if either is constant."""
    ranks = rows[[measure, score]].rank()
    if (ranks.nunique() < 2).any():
        return float("nan")
    return float(ranks[measure].corr(ranks[score]))
