"""Bootstrap intervals of means over requests (Efron 1979)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import pandas as pd

from mose.errors import StoreError
from mose.report.ranking import RANKED_BY
from mose.report.tables import (
    CHECKPOINT,
    MEMIT_SCORES,
    SCORES,
    harmonic_mean,
    identify,
    request_means,
    request_weights,
)

BASELINE = " of baseline"  # behind the names of its columns


def means_with_intervals(metrics: pd.DataFrame, seed: int = 0, draws: int = 2000) -> pd.DataFrame:
    """Every mean with its bootstrap interval, in long form.

    Columns: CHECKPOINT, when, metric, requests, left_out, mean, low, high. The mean is over the
    prompts of a request, then over requests. Portability also has one row per kind
    (`portability:KIND`). left_out: requests that have no value or were not scored.
    """
    of_kind = metrics["kind"].str.startswith("portability:") & (metrics["metric"] == "portability")
    kinds = metrics[of_kind]
    metrics = pd.concat([metrics, kinds.assign(metric=kinds["kind"])])
    parts = []
    for when, part in metrics.groupby("when", sort=False):
        for key, group in request_means(part).groupby(CHECKPOINT, sort=False):
            at = dict(zip(CHECKPOINT, cast("tuple[Hashable, ...]", key), strict=True))
            ordered = group.sort_values("order", kind="stable")
            about = [*CHECKPOINT, "order", "request", "drawn_of"]
            values = ordered.drop(columns=about, errors="ignore").dropna(axis=1, how="all")
            weights = request_weights(ordered, list(values))
            # A checkpoint may score a sample of its requests.
            edits = int(group["edits"].iloc[0])
            edited = edits if when == "retention" and edits else len(values)
            found = _intervals(values, weights, edited, seed, draws)
            parts.append(identify(found, **at, when=when))
    return pd.concat(parts, ignore_index=True)


def _intervals(
    values: pd.DataFrame, weights: pd.DataFrame, edited: int, seed: int, draws: int
) -> pd.DataFrame:
    """One row per column of `values`: metric, requests, left_out, mean, low, high.

    values: one row per request, no column empty. weights: of `tables.request_weights`. edited:
    requests in all, of which the rest is left out. The harmonic-mean score is added if its parts
    are present.
    """
    present = values.count()
    means = (values * weights).sum() / weights.sum()
    numbers, weighted = values.to_numpy(np.float64), weights.to_numpy(np.float64)
    drawn = pd.DataFrame(
        _drawn_means(numbers, weighted, np.random.default_rng(seed), draws), columns=values.columns
    )
    if set(MEMIT_SCORES) <= set(values.columns):
        means["score"] = float(harmonic_mean(means[MEMIT_SCORES].to_numpy(np.float64)))
        drawn["score"] = harmonic_mean(drawn[MEMIT_SCORES].to_numpy(np.float64))
        present["score"] = present[MEMIT_SCORES].min()
    low, high = np.nanquantile(drawn.to_numpy(), [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "metric": means.index,
            "requests": present.to_numpy(),
            "left_out": edited - present.to_numpy(),
            "mean": means.to_numpy(),
            "low": low,
            "high": high,
        }
    )


def bootstrap_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the mean over requests (Efron 1979): (low, high).

    values: (n,) or (n, m), one row per request, drawn with replacement; the m columns share the
    draws. NaN entries do not count. weights: of the same shape, 0 where a value is NaN; 1 by
    default. low, high: () or (m,), NaN for a column without values.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if count == 0:
        empty = np.full(values.shape[1:], np.nan)
        return empty, empty.copy()
    present = ~np.isnan(values)
    drawn = _drawn_means(values, present if weights is None else weights, rng, draws)
    tail = (1.0 - level) / 2.0
    known = present.any(axis=0)
    # nanquantile would warn about columns without values.
    low, high = np.nanquantile(np.where(known, drawn, 0.0), [tail, 1.0 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _drawn_means(
    values: np.ndarray, weights: np.ndarray, rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Weighted means (draws,) or (draws, m) over n rows of `values` (n, ...), drawn with
    replacement. weights: (n, ...), 0 where a value is NaN."""
    count = len(values)
    filled = np.where(np.isnan(values), 0.0, values) * weights
    # A draw is a count per request, so a mean is one matrix product. Chunks of at most four million
    # counts (32 MB) bound the memory.
    chunk = max(1, 4_000_000 // count)
    means = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        counts = rng.multinomial(count, np.full(count, 1.0 / count), size=size).astype(np.float64)
        weight = counts @ weights
        # A draw that has none of a column's values has no mean.
        missing = np.full_like(weight, np.nan)
        means.append(np.divide(counts @ filled, weight, out=missing, where=weight > 0))
    return np.concatenate(means)


def summary_intervals(
    metrics: pd.DataFrame,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
    when: str = "retention",
) -> pd.DataFrame:
    """Bootstrap intervals of the scores in `summarize`, one row per checkpoint.

    Columns: method, seed, edits, requests, then `<metric>_low`, `<metric>_high` for each of SCORES,
    then model, dataset. Every checkpoint starts its random generator from `seed`, so its interval
    depends only on its own requests.
    """
    means = request_means(metrics[metrics["when"] == when])
    rows = []
    for key, group in means.groupby(CHECKPOINT, sort=False):
        ordered = group.sort_values("order", kind="stable")
        values = ordered[SCORES].to_numpy(np.float64)
        weights = request_weights(ordered, SCORES).to_numpy(np.float64)
        rng = np.random.default_rng(seed)
        low, high = bootstrap_interval(values, rng, draws, level, weights)
        row: dict[str, Any] = dict(zip(CHECKPOINT, cast("tuple[Hashable, ...]", key), strict=True))
        row["requests"] = len(group)
        row |= {f"{name}_low": value for name, value in zip(SCORES, low, strict=True)}
        row |= {f"{name}_high": value for name, value in zip(SCORES, high, strict=True)}
        rows.append(row)
    bounds = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]
    return pd.DataFrame(
        rows, columns=["method", "seed", "edits", "requests", *bounds, "model", "dataset"]
    )


def differences(
    metrics: pd.DataFrame,
    baseline: str,
    seed: int = 0,
    draws: int = 2000,
    pooled: bool = False,
) -> pd.DataFrame:
    """Scores of every method less those of `baseline`, with paired bootstrap intervals.

    metrics: `metrics.csv`. Both methods are measured on the same requests, which are drawn
    together, so that what makes a request hard for all does not count. Retention only; a row per
    model, data set, seed, checkpoint, method and metric: those of RANKED_BY, and `edit_score`,
    their harmonic mean. Columns: CHECKPOINT, baseline, metric, requests, difference, and its 95 %
    interval, low and high.
    pooled: one row for all seeds that both methods have, named "0+1" in the column seed. A request
    of several seeds is drawn with all of them, since it is one fact.
    Raises StoreError if `baseline` is not among the methods.
    """
    if baseline not in set(metrics["method"]):
        known = ", ".join(dict.fromkeys(metrics["method"]))
        raise StoreError(f"baseline: found {baseline!r}, but metrics are of {known}")
    means = request_means(metrics[metrics["when"] == "retention"])
    others = [n for n in CHECKPOINT if n != "method" and not (pooled and n == "seed")]
    parts = []
    for key, group in means[means["edits"] > 0].groupby(others, sort=False):
        at = dict(zip(others, cast("tuple[Hashable, ...]", key), strict=True))
        of_method = {
            str(name): part.set_index(
                pd.MultiIndex.from_frame(part[["request", "seed"]], names=["of", "in"])
            )
            for name, part in group.groupby("method", sort=False)
        }
        if baseline not in of_method:
            continue
        reference = of_method.pop(baseline)
        for name, values in of_method.items():
            pairs = values.join(reference[RANKED_BY].add_suffix(BASELINE), how="inner")
            if pairs.empty:
                continue
            rows = _paired(pairs, np.random.default_rng(seed), draws)
            if pooled:
                at["seed"] = "+".join(map(str, sorted(pairs["seed"].unique())))
            parts.append(identify(rows, **at, method=name, baseline=baseline))
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[[*others, *(n for n in table if n not in others)]]


def _paired(pairs: pd.DataFrame, rng: np.random.Generator, draws: int) -> pd.DataFrame:
    """Differences of the columns RANKED_BY and those with BASELINE.

    pairs: of one checkpoint, a row per request and seed, with the columns that
    `tables.request_weights` needs.
    """

    def less(means: np.ndarray) -> np.ndarray:
        own, reference = np.split(means, 2, axis=-1)
        score, of_reference = harmonic_mean(own), harmonic_mean(reference)
        return np.concatenate([own - reference, (score - of_reference)[..., None]], axis=-1)

    columns = [*RANKED_BY, *(f"{name}{BASELINE}" for name in RANKED_BY)]
    by_row = request_weights(pairs, columns)
    facts = pairs["request"].to_numpy()
    summed = (pairs[columns] * by_row).groupby(facts, sort=False).sum()
    of_fact = by_row.groupby(facts, sort=False).sum()
    values = (summed / of_fact).to_numpy(np.float64)
    weights = of_fact.to_numpy(np.float64)
    drawn = less(_drawn_means(values, weights, rng, draws))
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    means = np.nansum(values * weights, axis=0) / weights.sum(axis=0)
    return pd.DataFrame(
        {
            "metric": [*RANKED_BY, "edit_score"],
            "requests": len(pairs),
            "difference": less(means),
            "low": low,
            "high": high,
        }
    )
