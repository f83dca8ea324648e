"""Which of two conflicting edits a model goes by, from the scores of both requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mose.report.prompt_metrics import PROMPT


@dataclass(frozen=True)
class Pair:
    """Ids of two successive requests of one subject and prompt; place: of the later one. repeats:
    both want the same object, which is no conflict."""

    earlier: str
    later: str
    place: int
    repeats: bool = False


def current(scores: pd.DataFrame, pairs: Sequence[Pair], edits: int) -> pd.DataFrame:
    """The rows of requests that no later one has replaced after `edits` edits."""
    replaced = {pair.earlier for pair in pairs if pair.place < edits}
    return scores[~scores["request"].isin(replaced)]


def conflict_metrics(scores: pd.DataFrame, pairs: Sequence[Pair], edits: int) -> pd.DataFrame:
    """Metrics of the later edit prompt of each pair after `edits` edits, in the form of
    `prompt_metrics.score_metrics`; without pairs that a third request replaced, that want the same
    object, or that were not both scored.

    conflict_later, conflict_earlier, conflict_neither: 1 for the largest of the probabilities of
    the later object's tokens, of the earlier one's, and of all other continuations; a tie counts as
    neither. conflict_score: 1 if the later object has the higher mean log-probability per token (Li
    et al. 2024, arXiv 2310.02129).
    """
    known = [pair for pair in pairs if pair.place < edits and not pair.repeats]
    earlier_of = {pair.later: pair.earlier for pair in known}
    edited = scores[scores["kind"] == "edit"]
    rows = current(edited, pairs, edits)
    rows = rows[rows["request"].isin(earlier_of)]
    rows = rows.assign(earlier=rows["request"].map(earlier_of))
    other = edited[["request", "tokens_new", "logprob_new"]].rename(columns={"request": "earlier"})
    both = rows.merge(other, on="earlier", suffixes=("", "_earlier"), validate="1:1")
    later, earlier = np.exp(both["logprob_new"]), np.exp(both["logprob_new_earlier"])
    neither = 1.0 - later - earlier
    per_token = both["logprob_new"] / both["tokens_new"]
    found = {
        "conflict_later": (later > earlier) & (later > neither),
        "conflict_earlier": (earlier > later) & (earlier > neither),
        "conflict_score": per_token > both["logprob_new_earlier"] / both["tokens_new_earlier"],
    }
    found["conflict_neither"] = ~(found["conflict_later"] | found["conflict_earlier"])
    parts = [
        both[["order", *PROMPT]].assign(metric=name, value=value.astype(np.float64))
        for name, value in found.items()
    ]
    return pd.concat(parts, ignore_index=True)
