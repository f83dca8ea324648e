"""Tables: from the files of single checkpoints to the frames a paper reports.

Everything here takes data frames and returns data frames; nothing reads or writes files. A run is
named by its model, dataset, method and seed, a checkpoint by its run and `edits`, the number of
requests edited so far. `identify` puts those columns in front of a file's rows; every function
below that takes `metrics` expects them.

Two families of metrics are kept apart. Reliability, generalization and locality are EasyEdit's
(Wang et al. 2023, arXiv 2308.07269): shares of target tokens. Efficacy, paraphrase and
neighborhood are MEMIT's (Meng et al. 2023, arXiv 2210.07229): which of two objects is likelier.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from mose import text

RUN = ["model", "dataset", "method", "seed"]
CHECKPOINT = [*RUN, "edits"]
PROMPT = ["request", "kind", "prompt"]

SCORES = ["reliability", "generalization", "locality", "efficacy", "paraphrase", "neighborhood"]
RATIOS = ["frobenius_ratio", "condition_ratio"]
MEMIT_SCORES = ["efficacy", "paraphrase", "neighborhood"]
SUMMARY = [
    *("method", "seed", "edits", *SCORES, "perplexity", *RATIOS, "score", "portability"),
    *("model", "dataset"),
]
METRICS = [*CHECKPOINT, "when", "order", *PROMPT, "metric", "value"]

SCORE_DTYPES = {
    **{"request": str, "kind": str, "predicted_true": str},
    **{"answer": str, "generated": str},
}
"""For `pandas.read_csv(..., dtype=SCORE_DTYPES)`: ids that look like numbers stay text."""


def read(path: str | Path) -> pd.DataFrame:
    """A table as `scripts/tables.py` wrote it. Only empty cells are missing: a method may be
    called "null", a request "NA"."""
    return pd.read_csv(path, dtype=SCORE_DTYPES, keep_default_na=False, na_values=[""])


def identify(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """`frame` with constant columns put in front, in the order given.

    identify(stability, model="gpt2", dataset="counterfact", method="memit", seed=0, edits=20)
    """
    clash = [name for name in columns if name in frame.columns]
    if clash:
        raise ValueError(f"the frame already has the identifying columns {clash}")
    named = pd.DataFrame(columns, index=frame.index)
    return pd.concat([named, frame], axis=1)


def score_metrics(scores: pd.DataFrame, unedited: pd.DataFrame) -> pd.DataFrame:
    """Every metric of every prompt, long: order, request, kind, prompt, metric, value.

    scores, unedited: one row per prompt, as the scoring stage writes them, of the edited and of
    the unedited model. Log-probabilities are sums over a target's tokens, in nats.

    edit        reliability, the share of the new object's tokens that are predicted;
                efficacy, 1 if the new object is likelier than the true one
    paraphrase  generalization and paraphrase, the same for prompts in other words
    locality    locality, the share of predicted tokens that are the unedited model's;
                locality_truth, the share that are the neighbour's true object;
                neighborhood, 1 if the true object is likelier than the request's new one
    portability and portability:KIND
                portability, the share of the tokens that should follow from the edit

    Where the model was let to answer by itself, reliability and generalization also have
    `_generated_exact`, 1 if the answer is what it says, and `_generated_contains`, 1 if it is in
    what it says, both by `mose.text`.

    Each share has an `_exact` companion, 1 if all tokens agree; each comparison a `_margin`, the
    difference of mean log-probabilities in nats per token, positive where it is won, and a
    `_magnitude`, the difference of their exponentials (MEMIT's).

    The likelier of two objects is the one with the higher mean log-probability per token, as in
    MEMIT's code; a tie counts as 0, and where a request has no true object nothing is compared.
    Raises ValueError where the unedited model was not scored on
    the same prompt, or was scored on other tokens.
    """
    scores = _with_unedited(scores, unedited)
    margin = scores["logprob_new"] / scores["tokens_new"]
    margin = margin - scores["logprob_true"] / scores["tokens_true"]
    probability = np.exp(scores["logprob_new"] / scores["tokens_new"])
    magnitude = probability - np.exp(scores["logprob_true"] / scores["tokens_true"])
    written = scores["right_new"] / scores["tokens_new"]
    true = scores["right_true"] / scores["tokens_true"]
    kind = scores["kind"]

    parts = []
    for name, share, success in (
        ("edit", "reliability", "efficacy"),
        ("paraphrase", "generalization", "paraphrase"),
    ):
        rows = scores[kind == name]
        parts += _share(rows, share, written)
        parts += _preference(rows, success, margin, magnitude)
        parts += _generation(rows, share)
    rows = scores[kind == "locality"]
    parts += _share(rows, "locality", _agreement(rows))
    parts += _share(rows, "locality_truth", true)
    parts += _preference(rows, "neighborhood", -margin, -magnitude)
    parts += _share(scores[kind.str.startswith("portability")], "portability", true)
    return pd.concat(parts, ignore_index=True)


def request_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Means over the prompts of each request: one row per checkpoint and request, one column per
    metric (NaN where a request has no such prompt), so that every request weighs the same.
    """
    by = [*CHECKPOINT, "order", "request"]
    means = metrics.groupby([*by, "metric"], sort=False)["value"].mean().unstack("metric")
    means = means.reindex(columns=list(dict.fromkeys([*SCORES, "portability", *means.columns])))
    return means.rename_axis(columns=None).reset_index()


def summarize(
    metrics: pd.DataFrame, stability: pd.DataFrame, perplexity: pd.DataFrame
) -> pd.DataFrame:
    """One row per checkpoint, with the columns SUMMARY: retention over all requests edited so far.

    metrics: METRICS columns; stability, perplexity: the checkpoint columns and their file's own.
    Scores are means over prompts, then over requests. A ratio is that of the edited layer that
    moved most. Rows with edits = 0 are the unedited model: give each run its scores over all
    requests and its perplexity under edits=0; the ratios are 1 by definition.
    """
    table = _mean_scores(metrics, "retention")
    table = _join(table, perplexity[[*CHECKPOINT, "perplexity"]], "perplexity")
    unmoved = table.loc[table["edits"] == 0, CHECKPOINT].assign(**dict.fromkeys(RATIOS, 1.0))
    ratios = pd.concat([unmoved, _most_moved(stability[stability["edits"] > 0])])
    return _join(table, ratios, "stability")[SUMMARY]


def immediate(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per checkpoint: the mean scores of the requests whose own batch it ended.

    metrics: METRICS columns. Columns: method, seed, edits, requests (how many), SCORES, model,
    dataset. The counterpart of `summarize`, before later edits could undo anything.
    """
    table = _mean_scores(metrics, "immediate")
    return table[["method", "seed", "edits", "requests", *SCORES, "model", "dataset"]]


def retention_matrix(
    metrics: pd.DataFrame,
    metric: str = "reliability",
    ends: Sequence[int] | None = None,
) -> pd.DataFrame:
    """What became of each group of edits: RUN, metric, origin, edits, requests, value; long.

    Requests are grouped by `origin`, the first of `ends` that is greater than their order: the
    number of edits made when their group was complete. `ends` defaults to each run's checkpoints;
    give the ends of the batches for a finer grouping. `value` is the mean of `metric` over the
    group's `requests` at the checkpoint `edits` >= origin.
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


def forgetting(metrics: pd.DataFrame, metric: str = "reliability") -> pd.DataFrame:
    """The same requests right after their own batch and at their run's last checkpoint.

    metrics: METRICS columns. Columns: RUN, metric, origin (the number of edits when the batch was
    done), requests, immediate, last. Requests that were not measured right away, because no
    checkpoint followed their batch, are in neither mean.
    """
    rows = metrics[(metrics["metric"] == metric) & (metrics["edits"] > 0)]
    fresh = request_means(rows[rows["when"] == "immediate"])
    later = request_means(rows[rows["when"] == "retention"])
    later = later[later["edits"] == later.groupby(RUN)["edits"].transform("max")]
    both = fresh.merge(
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


def harmonic_mean(values: np.ndarray) -> np.ndarray:
    """Harmonic mean over the last axis; 0 where a value is 0, NaN where one is missing. Of
    efficacy, paraphrase and neighborhood it is the score of MEMIT (arXiv 2210.07229)."""
    zero = (values == 0.0).any(axis=-1)
    safe = np.where(values == 0.0, 1.0, values)
    mean = values.shape[-1] / (1.0 / safe).sum(axis=-1)
    return np.where(zero & ~np.isnan(values).any(axis=-1), 0.0, mean)


def forgetting_curves(matrix: pd.DataFrame) -> pd.DataFrame:
    """How scores fall with what was edited since: RUN, metric, age, requests, value.

    matrix: `retention_matrix`. age: the edits made after a group was complete; groups of the same
    age are one mean over requests. Late ages are of early requests only.
    """
    aged = matrix.assign(age=matrix["edits"] - matrix["origin"])
    aged["sum"] = aged["value"] * aged["requests"]
    curves = aged.groupby([*RUN, "metric", "age"], sort=False)[["requests", "sum"]].sum()
    curves["value"] = curves["sum"] / curves["requests"].where(curves["requests"] > 0)
    return curves.drop(columns="sum").reset_index()


def means_with_intervals(metrics: pd.DataFrame, seed: int = 0, draws: int = 2000) -> pd.DataFrame:
    """Every mean with its bootstrap interval, long: CHECKPOINT, when, metric, requests, left_out,
    mean, low, high.

    The mean is over the prompts of a request, then over requests; portability also stands by its
    kinds (`portability:KIND`). left_out: requests of the checkpoint that have no such value, or
    were not scored at it.
    """
    of_kind = metrics["kind"].str.startswith("portability:") & (metrics["metric"] == "portability")
    kinds = metrics[of_kind]
    metrics = pd.concat([metrics, kinds.assign(metric=kinds["kind"])])
    parts = []
    for when, part in metrics.groupby("when", sort=False):
        for key, group in request_means(part).groupby(CHECKPOINT, sort=False):
            at = dict(zip(CHECKPOINT, cast("tuple[Hashable, ...]", key), strict=True))
            values = group.sort_values("order", kind="stable")
            values = values.drop(columns=[*CHECKPOINT, "order", "request"]).dropna(
                axis=1, how="all"
            )
            # A checkpoint may score a sample of its requests.
            edits = int(group["edits"].iloc[0])
            asked = edits if when == "retention" and edits else len(values)
            parts.append(identify(_intervals(values, asked, seed, draws), **at, when=when))
    return pd.concat(parts, ignore_index=True)


def _intervals(values: pd.DataFrame, asked: int, seed: int, draws: int) -> pd.DataFrame:
    """metric, requests, left_out (of `asked`), mean, low, high of each column of `values` (one row
    per request, no column empty), and of the harmonic-mean score where its parts are there."""
    present = values.count()
    means = values.mean()
    numbers = values.to_numpy(np.float64)
    drawn = pd.DataFrame(
        _drawn_means(numbers, np.random.default_rng(seed), draws), columns=values.columns
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
            "left_out": asked - present.to_numpy(),
            "mean": means.to_numpy(),
            "low": low,
            "high": high,
        }
    )


PROTOCOLS = {
    "token_level": "",
    "all_tokens": "_exact",
    "generated_exact": "_generated_exact",
    "generated_contains": "_generated_contains",
}


def protocols(metrics: pd.DataFrame) -> pd.DataFrame:
    """The same answers judged in four ways: one row per checkpoint and metric (reliability,
    generalization), with requests and a column for each of PROTOCOLS.

    Only requests that were answered by greedy generation count, in all columns.
    """
    columns = ["method", "seed", "edits", "metric", "requests", *PROTOCOLS, "model", "dataset"]
    means = request_means(metrics[metrics["when"] == "retention"])
    parts = []
    for metric in ("reliability", "generalization"):
        named = {f"{metric}{end}": name for name, end in PROTOCOLS.items()}
        if not set(named) <= set(means.columns):
            continue
        rows = means.dropna(subset=list(named))
        grouped = rows.groupby(CHECKPOINT, sort=False)[list(named)]
        table = grouped.mean().rename(columns=named).assign(requests=grouped.size())
        parts.append(table.reset_index().assign(metric=metric))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def bootstrap_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of the mean over requests (Efron 1979): (low, high).

    values: (n,) or (n, m), one row per request, drawn with replacement; the m columns share the
    draws. NaN entries are left out of their column's means. low, high: () or (m,).
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if count == 0:
        empty = np.full(values.shape[1:], np.nan)
        return empty, empty.copy()
    drawn = _drawn_means(values, rng, draws)
    present = ~np.isnan(values)
    tail = (1.0 - level) / 2.0
    known = present.any(axis=0)
    # A column without a value stays NaN; nanquantile would warn about it.
    low, high = np.nanquantile(np.where(known, drawn, 0.0), [tail, 1.0 - tail], axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _drawn_means(values: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Means (draws,) or (draws, m) of as many rows of `values`, drawn with replacement."""
    count = len(values)
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    # A draw is how often each request came up; a mean is then one product. Chunks of at most
    # four million counts (32 MB) keep ten thousand requests within reach.
    chunk = max(1, 4_000_000 // count)
    means = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        counts = rng.multinomial(count, np.full(count, 1.0 / count), size=size).astype(np.float64)
        weight = counts @ present
        # No weight: a draw without any of the column's values. It has no mean.
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
    """Bootstrap intervals of the scores in `summarize`: method, seed, edits, requests, then
    `<metric>_low`, `<metric>_high` for each of SCORES, then model, dataset.

    Every checkpoint starts its generator from `seed`, so that an interval depends on nothing but
    that checkpoint's own requests.
    """
    means = request_means(metrics[metrics["when"] == when])
    rows = []
    for key, group in means.groupby(CHECKPOINT, sort=False):
        values = group.sort_values("order", kind="stable")[SCORES].to_numpy(np.float64)
        low, high = bootstrap_interval(values, np.random.default_rng(seed), draws, level)
        row: dict[str, Any] = dict(zip(CHECKPOINT, cast("tuple[Hashable, ...]", key), strict=True))
        row["requests"] = len(group)
        row |= {f"{name}_low": value for name, value in zip(SCORES, low, strict=True)}
        row |= {f"{name}_high": value for name, value in zip(SCORES, high, strict=True)}
        rows.append(row)
    bounds = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]
    return pd.DataFrame(
        rows, columns=["method", "seed", "edits", "requests", *bounds, "model", "dataset"]
    )


def _with_unedited(scores: pd.DataFrame, unedited: pd.DataFrame) -> pd.DataFrame:
    """`scores` with the unedited model's predictions as `predicted_before`, after checking that
    both models were scored on the same prompts and tokens.
    """
    # Ids and token lists that happen to look like numbers come out of a CSV file as numbers.
    scores, unedited = (
        frame.astype({"request": str, "predicted_true": str}) for frame in (scores, unedited)
    )
    for name, frame in (("scores", scores), ("unedited scores", unedited)):
        twice = frame[frame.duplicated(PROMPT)]
        if len(twice):
            raise ValueError(f"the {name} hold {_where(twice.iloc[0])} more than once")
    before = unedited[[*PROMPT, "tokens_new", "tokens_true", "predicted_true"]]
    joined = scores.merge(before, on=PROMPT, how="left", suffixes=("", "_before"), indicator=True)

    missing = joined[joined["_merge"] == "left_only"]
    if len(missing):
        row = missing.iloc[0]
        raise ValueError(
            f"the unedited model has no score for {_where(row)}: the edited model was scored on "
            f"{row['tokens_new']} new and {row['tokens_true']} true tokens, the unedited on none"
        )
    for count in ("tokens_new", "tokens_true"):
        other = joined[joined[count] != joined[f"{count}_before"]]
        if len(other):
            row = other.iloc[0]
            raise ValueError(
                f"{count} differs for {_where(row)}: {row[count]} in the scores, "
                f"{int(row[f'{count}_before'])} in the unedited model's"
            )
        empty = joined[joined[count] < 1]
        if count == "tokens_true":  # a request need not say what was true before it
            empty = empty[~empty["kind"].isin(["edit", "paraphrase"])]
        if len(empty):
            raise ValueError(f"{count} is {empty.iloc[0][count]} for {_where(empty.iloc[0])}")
    return joined.rename(columns={"predicted_true_before": "predicted_before"})


def _where(row: pd.Series) -> str:
    return f"request {row['request']}, kind {row['kind']}, prompt {row['prompt']}"


def _agreement(rows: pd.DataFrame) -> pd.Series:
    """The share of positions at which the two models predict the same token, one value per row."""
    predicted = [rows[name].fillna("") for name in ("predicted_true", "predicted_before")]
    shares = []
    for place, (now, before, tokens) in enumerate(
        zip(*predicted, rows["tokens_true"], strict=True)
    ):
        edited, original = now.split(), before.split()
        if not len(edited) == len(original) == tokens:
            raise ValueError(
                f"predicted_true has {len(edited)} tokens in the scores and {len(original)} in "
                f"the unedited model's for {_where(rows.iloc[place])}; tokens_true is {tokens}"
            )
        same = sum(one == other for one, other in zip(edited, original, strict=True))
        shares.append(same / tokens)
    return pd.Series(shares, index=rows.index, dtype=np.float64)


def _share(rows: pd.DataFrame, metric: str, share: pd.Series) -> list[pd.DataFrame]:
    share = share[rows.index]
    return [_long(rows, metric, share), _long(rows, f"{metric}_exact", share == 1.0)]


def _preference(
    rows: pd.DataFrame, metric: str, margin: pd.Series, magnitude: pd.Series
) -> list[pd.DataFrame]:
    margin = margin[rows.index].dropna()
    rows = rows.loc[margin.index]
    return [
        _long(rows, metric, margin > 0.0),
        _long(rows, f"{metric}_margin", margin),
        _long(rows, f"{metric}_magnitude", magnitude[rows.index]),
    ]


def _generation(rows: pd.DataFrame, metric: str) -> list[pd.DataFrame]:
    """What greedy generation said, for the rows where it was asked."""
    if "answer" not in rows:
        return []
    asked = rows[rows["answer"].fillna("") != ""]
    parts = []
    for name, said in (("exact", text.says_exactly), ("contains", text.contains)):
        pairs = zip(asked["generated"].fillna(""), asked["answer"], strict=True)
        found = pd.Series([said(*pair) for pair in pairs], index=asked.index, dtype=np.float64)
        parts.append(_long(asked, f"{metric}_generated_{name}", found))
    return parts


def _long(rows: pd.DataFrame, metric: str, value: pd.Series) -> pd.DataFrame:
    named = rows[["order", *PROMPT]].assign(metric=metric)
    return named.assign(value=value.astype(np.float64))


def _mean_scores(metrics: pd.DataFrame, when: str) -> pd.DataFrame:
    """CHECKPOINT, requests and the mean of each of SCORES over requests."""
    means = request_means(metrics[metrics["when"] == when])
    grouped = means.groupby(CHECKPOINT, sort=False)
    table = grouped[[*SCORES, "portability"]].mean().assign(requests=grouped.size())
    table["score"] = harmonic_mean(table[MEMIT_SCORES].to_numpy(np.float64))
    return table.reset_index()


def _join(table: pd.DataFrame, other: pd.DataFrame, name: str) -> pd.DataFrame:
    joined = table.merge(other, on=CHECKPOINT, how="left", validate="1:1", indicator=True)
    missing = joined.loc[joined["_merge"] == "left_only", CHECKPOINT]
    if len(missing):
        raise ValueError(f"no {name} for the checkpoint {missing.iloc[0].to_dict()}")
    return joined.drop(columns="_merge")


def _most_moved(stability: pd.DataFrame) -> pd.DataFrame:
    """CHECKPOINT and RATIOS: each ratio of the layer where it is farthest from 1."""
    columns = {}
    for ratio in RATIOS:
        # Stable, so that of two layers equally far the first listed counts; NaN comes last.
        far = (1.0 - stability[ratio]).abs()
        ordered = stability.loc[far.sort_values(ascending=False, kind="stable").index]
        columns[ratio] = ordered.groupby(CHECKPOINT, sort=False)[ratio].first()
    return pd.DataFrame(columns).reset_index()
