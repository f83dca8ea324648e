"""General abilities: task scores of edited models against the unedited model on the same items.

A score is a function of sums over items (a mean, an F1, a perplexity). Intervals come from sums
over items drawn with replacement (paired bootstrap; Efron & Tibshirani 1993): both models get the
same draws, so items that are hard for both do not widen the interval of the difference.

Retained ability of a task is the edited model's headline score over the unedited model's, in
percent; for perplexity, where less is better, the inverse. It is meaningful only if the unedited
model is above chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mose.errors import RequestError
from mose.report.tables import CHECKPOINT, RUN

ITEM = ["task", "item"]
ALL_TASKS = "mean"
DEGENERATE = 0.95
"""A classifier with one answer for this share of items or more counts as degenerate."""

COLUMNS = [
    *CHECKPOINT, "task", "metric", "headline", "items", "value", "value_low", "value_high",
    "unedited", "difference", "difference_low", "difference_high",
    "retained", "retained_low", "retained_high",
]  # fmt: skip


@dataclass(frozen=True)
class Statistic:
    """A score as a function of sums over items.

    terms: (items, k), each item's contribution. score: maps sums (..., k) to scores (...).
    """

    terms: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]
    less_is_better: bool = False


def mean_score(sums: np.ndarray) -> np.ndarray:
    """Mean, from sums (..., 2) of value and 1; NaN without items."""
    with np.errstate(invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def perplexity_score(sums: np.ndarray) -> np.ndarray:
    """Perplexity, from sums (..., 2) of nll (nats) and tokens; inf on overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.exp(sums[..., 0] / sums[..., 1])


def weighted_f1(sums: np.ndarray) -> np.ndarray:
    """Mean of the classes' F1, weighted by their number of items.

    sums: confusion counts (..., c * c), c classes, labels before answers. A class without items has
    no weight.
    """
    classes = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], classes, classes)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    labelled, answered = table.sum(-1), table.sum(-2)
    f1 = 2.0 * hits / np.maximum(labelled + answered, 1.0)
    return (f1 * labelled).sum(-1) / np.maximum(labelled.sum(-1), 1.0)


def top_share(sums: np.ndarray) -> np.ndarray:
    """The share of the most frequent answer, from counts of answers (..., c)."""
    return sums.max(-1) / np.maximum(sums.sum(-1), 1.0)


def degenerate(sums: np.ndarray) -> np.ndarray:
    """1.0 if one answer is given to a share DEGENERATE of the items or more, else 0.0."""
    return (top_share(sums) >= DEGENERATE).astype(np.float64)


def statistics(kind: str, items: pd.DataFrame, classes: int) -> dict[str, Statistic]:
    """The metrics of a task by name.

    kind: of the task. items: one row per item, one column per raw metric. classes: number of
    choices, over both models' answers.
    """

    def mean(column: str) -> Statistic:
        values = items[column].to_numpy(np.float64)
        return Statistic(np.stack([values, np.ones_like(values)], axis=1), mean_score)

    if kind == "perplexity":
        terms = items[["nll", "tokens"]].to_numpy(np.float64)
        return {"perplexity": Statistic(terms, perplexity_score, less_is_better=True)}
    if kind == "continuation":
        return {"accuracy": mean("correct"), "logprob": mean("logprob")}
    if kind != "choice":
        return {str(name): mean(str(name)) for name in items.columns}
    label, choice = (items[name].to_numpy(np.int64) for name in ("label", "choice"))
    answers = np.eye(classes)[choice]
    metrics = {
        "accuracy": mean("correct"),
        "accuracy_norm": mean("correct_norm"),
        "f1": Statistic(np.eye(classes * classes)[label * classes + choice], weighted_f1),
        "top_share": Statistic(answers, top_share),
        "degenerate": Statistic(answers, degenerate),
    }
    return metrics | ({"margin": mean("margin")} if "margin" in items else {})


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per item (index, ascending), one column per raw metric."""
    return rows.pivot(index="item", columns="metric", values="value").rename_axis(columns=None)


@dataclass(frozen=True)
class Comparison:
    """One metric of the edited and the unedited model: values and bootstrap draws (draws,)."""

    value: float
    before: float
    drawn: np.ndarray
    drawn_before: np.ndarray
    less_is_better: bool

    @property
    def retained(self) -> float:
        """Retained ability in percent; NaN if the unedited model scores 0."""
        return float(self._ratio(np.array(self.value), np.array(self.before)))

    @property
    def retained_draws(self) -> np.ndarray:
        return self._ratio(self.drawn, self.drawn_before)

    def _ratio(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        above, below = (before, now) if self.less_is_better else (now, before)
        missing = np.full(np.broadcast(above, below).shape, np.nan)
        return 100.0 * np.divide(above, below, out=missing, where=below > 0)


def compare(
    edited: pd.DataFrame, unedited: pd.DataFrame, task: str, seed: int = 0, draws: int = 2000
) -> dict[str, Comparison]:
    """Every metric of one task. edited, unedited: the task's long rows, of the same items.

    Raises RequestError if the items differ.
    """
    now, before = wide(edited), wide(unedited)
    comparisons = {}
    kind = str(edited["kind"].iloc[0])
    # Negative items are lm-evaluation-harness's totals over all items: one value, no draws.
    for single in (True, False):
        ours, theirs = (frame[(frame.index < 0) == single] for frame in (now, before))
        ours, theirs = ours.dropna(axis=1, how="all"), theirs.dropna(axis=1, how="all")
        if list(ours.index) != list(theirs.index):
            raise RequestError(
                f"task {task}: the edited model was asked {len(ours)} items and the unedited "
                f"{len(theirs)}, or other ones; delete its task_scores<n>.csv and run again"
            )
        if not ours.empty:
            comparisons.update(_compare(kind, ours, theirs, np.random.default_rng(seed), draws))
    return comparisons


def _compare(
    kind: str,
    now: pd.DataFrame,
    before: pd.DataFrame,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Comparison]:
    classes = 0
    if kind == "choice":
        classes = 1 + int(max(f[c].max() for f in (now, before) for c in ("label", "choice")))
    count = len(now)
    # Count of each item in each draw, the same for both models and all metrics.
    counts = rng.multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)
    ours, theirs = statistics(kind, now, classes), statistics(kind, before, classes)
    comparisons = {}
    for name, statistic in ours.items():
        other = theirs[name]
        comparisons[name] = Comparison(
            value=float(statistic.score(statistic.terms.sum(0))),
            before=float(other.score(other.terms.sum(0))),
            # One item has no spread.
            drawn=statistic.score(counts @ statistic.terms) if count > 1 else np.full(1, np.nan),
            drawn_before=other.score(counts @ other.terms) if count > 1 else np.full(1, np.nan),
            less_is_better=statistic.less_is_better,
        )
    return comparisons


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the finite draws; NaN if there are none."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return float("nan"), float("nan")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(finite, [tail, 1.0 - tail])
    return float(low), float(high)


def abilities(
    runs: Sequence[tuple[Mapping[str, Any], pd.DataFrame, pd.DataFrame]],
    headlines: Mapping[str, str],
    seed: int = 0,
    draws: int = 2000,
) -> pd.DataFrame:
    """COLUMNS: every metric of every task, and the mean of the tasks' retained ability.

    runs: per checkpoint its identity (CHECKPOINT), its long rows, and the unedited model's rows.
    headlines: the headline metric, by task. The row of task ALL_TASKS is the mean of the defined
    retained abilities; its `items` is the number of these tasks.
    """
    rows: list[dict[str, Any]] = []
    for identity, edited, unedited in runs:
        means, drawn = [], []
        for place, (task, headline) in enumerate(headlines.items()):
            ours, theirs = (frame[frame["task"] == task] for frame in (edited, unedited))
            # Tasks are independent samples, so each has its own random generator.
            compared = compare(ours, theirs, task, seed + place, draws)
            items = int((ours["item"].unique() >= 0).sum())
            for metric, one in compared.items():
                rows.append(_row(identity, task, metric, metric == headline, items, one))
            one = compared[headline]
            if np.isfinite(one.retained):
                means.append(one.retained)
                drawn.append(np.broadcast_to(one.retained_draws, draws))
        low, high = interval(np.mean(drawn, axis=0)) if drawn else (np.nan, np.nan)
        rows.append(
            {
                **identity, "task": ALL_TASKS, "metric": "retained", "headline": True,
                "items": len(means), "retained": float(np.mean(means)) if means else np.nan,
                "retained_low": low, "retained_high": high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(
    identity: Mapping[str, Any], task: str, metric: str, headline: bool, items: int, one: Comparison
) -> dict[str, Any]:
    value_low, value_high = interval(one.drawn)
    row: dict[str, Any] = {
        **identity, "task": task, "metric": metric, "headline": headline, "items": items,
        "value": one.value, "value_low": value_low, "value_high": value_high,
        "unedited": one.before, "difference": one.value - one.before,
    }  # fmt: skip
    row["difference_low"], row["difference_high"] = interval(one.drawn - one.drawn_before)
    if headline:
        row["retained"] = one.retained
        row["retained_low"], row["retained_high"] = interval(one.retained_draws)
    return row


EDIT_SCORES = ["reliability", "generalization", "locality"]


def comparison(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The paper's table: edit scores, headline scores of tasks and retained ability, by method.

    summary: of `tables.summarize`; table: of `abilities`. Means over seeds at each method's last
    checkpoint with tasks; the interval of the retained ability is the mean of the seeds' bounds.
    The first row of each model and data set is the unedited model.
    """
    by = ["model", "dataset", "method"]
    last = table[table["edits"] == table.groupby(by, sort=False)["edits"].transform("max")]
    tasks = [task for task in dict.fromkeys(last["task"]) if task != ALL_TASKS]
    rows = []
    for key, part in last[last["headline"]].groupby(["model", "dataset"], sort=False):
        model, dataset = key
        edits = summary[(summary["model"] == model) & (summary["dataset"] == dataset)]
        before = part[part["task"] != ALL_TASKS].groupby("task")["unedited"].mean()
        unedited = edits[edits["edits"] == 0].drop_duplicates("seed")
        rows.append(
            {
                "model": model, "dataset": dataset, "method": "unedited", "edits": 0,
                **unedited[EDIT_SCORES].mean(), **{task: before[task] for task in tasks},
                "retained": 100.0, "retained_low": 100.0, "retained_high": 100.0,
            }
        )  # fmt: skip
        for method, own in part.groupby("method", sort=False):
            scores = edits[(edits["method"] == method) & (edits["edits"] == own["edits"].max())]
            values = own.groupby("task")["value"].mean()
            overall = own.loc[own["task"] == ALL_TASKS]
            retained = overall[["retained", "retained_low", "retained_high"]].mean()
            rows.append(
                {
                    "model": model, "dataset": dataset, "method": method,
                    "edits": own["edits"].max(), **scores[EDIT_SCORES].mean(),
                    **{task: values[task] for task in tasks}, **retained,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def format_comparison(table: pd.DataFrame) -> str:
    """`comparison` as plain text: shares with three decimals, retained ability as % [low, high]."""
    shown = table.drop(columns=["retained_low", "retained_high"]).astype(object)
    bounds = zip(table["retained"], table["retained_low"], table["retained_high"], strict=True)
    shown["retained"] = [
        "-" if np.isnan(value) else f"{value:.2f} [{low:.2f}, {high:.2f}]"
        for value, low, high in bounds
    ]
    for column in ("model", "dataset"):
        if table[column].nunique() == 1:
            shown = shown.drop(columns=column)
    shown = shown.rename(columns={"retained": "retained % [95 %]"})
    return shown.to_string(index=False, na_rep="-", float_format="{:.3f}".format) + "\n"


def unedited_rows(table: pd.DataFrame) -> pd.DataFrame:
    """`table`, after rows for each run's unedited model with edits = 0."""
    first = table.drop_duplicates([*RUN, "task", "metric"]).assign(edits=0)
    first = first.assign(value=first["unedited"], value_low=np.nan, value_high=np.nan)
    whole = first["retained"].where(first["retained"].isna(), 100.0)
    first = first.assign(retained=whole, retained_low=whole, retained_high=whole)
    return pd.concat([first, table], ignore_index=True)
