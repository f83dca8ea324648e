"""Gathers the measurements of all runs of an experiment into its tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mose.errors import StoreError
from mose.evaluation import fluency
from mose.experiment.paths import Paths
from mose.experiment.runs import Runs
from mose.experiment.unfinished import progress
from mose.facts import requests
from mose.facts.conflicts import conflicting_pairs
from mose.report import (
    abilities,
    collapse,
    conflicts,
    families,
    intervals,
    next_tokens,
    prompt_metrics,
    retention,
    tables,
)
from mose.storage import hdf5

Frames = dict[str, list[pd.DataFrame]]


def experiment_tables(
    runs: Runs,
    batch: int,
    consistency: bool,
    finished: bool = False,
    conflicting: bool = False,
) -> dict[str, pd.DataFrame]:
    """The tables of an experiment, by name (`catalog.TABLES`).

    batch: requests per update. consistency: whether texts are compared with references.
    finished: leave out checkpoints without all measurements, and those of an earlier run
    (`mose.experiment.unfinished`). conflicting: whether requests conflict on purpose.
    Raises StoreError if nothing is finished.
    """
    frames: Frames = {"metrics": [], "stability": [], "perplexity": [], "edit_records": []}
    for identity in runs.identities():
        paths = runs.paths.at(**identity)
        checkpoints = runs.checkpoints_of(identity["method"])
        if finished:
            checkpoints = progress(paths, checkpoints).finished
        if checkpoints:
            segments = [n for n in runs.checkpoints if n <= checkpoints[-1]]
            pairs = _pairs(paths.requests) if conflicting else []
            _add_run(frames, paths, identity, checkpoints, segments, batch, consistency, pairs)
    if not frames["metrics"]:
        raise StoreError(
            f"{runs.paths.folder}: no checkpoint is measured yet together with "
            "the unedited model's answers and perplexity"
        )
    return _derived({name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()})


def _add_run(
    frames: Frames,
    paths: Paths,
    identity: Mapping[str, Any],
    checkpoints: Sequence[int],
    segments: Sequence[int],
    batch: int,
    consistency: bool,
    pairs: Sequence[conflicts.Pair],
) -> None:
    """Add one run's measurements. segments: number of edits at the end of each segment.

    pairs: of conflicting requests.
    """
    unedited = pd.concat(
        [read_scores(paths.at(n=n).unedited_scores) for n in segments], ignore_index=True
    )
    references = _references(paths.requests) if consistency else {}
    begins = dict(zip(segments, [0, *segments], strict=False))

    def metrics_of(scores: pd.DataFrame) -> pd.DataFrame:
        return prompt_metrics.score_metrics(scores, unedited, **references)

    def add(table: str, frame: pd.DataFrame, **names: Any) -> None:
        frames[table].append(tables.identify(frame, **identity, **names))

    add("metrics", metrics_of(unedited).assign(drawn_of=0), edits=0, when="retention")
    add("perplexity", pd.read_csv(paths.unedited_perplexity), edits=0)
    for n in checkpoints:
        at = paths.at(n=n)
        scores = read_scores(at.scores)
        now = [metrics_of(conflicts.current(scores, pairs, n))]
        if pairs:
            now.append(conflicts.conflict_metrics(scores, pairs, n))
        for part in now:
            drawn = _drawn_of(scores["order"], begins[n], part["order"])
            add("metrics", part.assign(drawn_of=drawn), edits=n, when="retention")
        add("stability", pd.read_csv(at.stability), edits=n)
        add("perplexity", pd.read_csv(at.perplexity), edits=n)
        immediate = metrics_of(read_scores(at.immediate))
        # A batch's immediate scores belong to the number of edits right after it.
        for end, part in immediate.groupby((immediate["order"] // batch + 1) * batch):
            add("metrics", part.assign(drawn_of=0), edits=end, when="immediate")
    add("edit_records", _edit_records(paths.at(n=checkpoints[-1]).checkpoint))


def _drawn_of(scored: pd.Series, begin: int, orders: pd.Series) -> pd.Series:
    """`drawn_of` (`tables.METRICS`) of rows at `orders`.

    scored: orders of all rows that were scored at the checkpoint. begin: of its segment.
    """
    earlier = scored[scored < begin].nunique()
    return (orders < begin) * (begin if earlier < begin else 0)


def _derived(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """All tables, from the gathered ones."""
    metrics = frames["metrics"][tables.METRICS]
    matrix = pd.concat(
        [retention.retention_matrix(metrics, name) for name in tables.SCORES], ignore_index=True
    )
    summary = tables.summarize(metrics, frames["stability"], frames["perplexity"])
    means = intervals.means_with_intervals(metrics)
    return {
        **frames,
        "metrics": metrics,
        "summary": summary,
        "summary_intervals": intervals.summary_intervals(metrics),
        "means": means,
        "ranks": families.ranks(means, summary),
        "collapse_points": collapse.collapse_points(summary),
        "drift_correlations": collapse.drift_correlations(summary, frames["stability"], matrix),
        "protocols": tables.protocols(metrics),
        "immediate": tables.immediate(metrics),
        "retention_matrix": matrix,
        "forgetting_curves": retention.forgetting_curves(matrix),
        "written_and_kept": pd.concat(
            [retention.forgetting(metrics, name, by_checkpoint=True) for name in tables.SCORES],
            ignore_index=True,
        ),
    }


def next_token_table(runs: Runs) -> pd.DataFrame:
    """The table of next-token distributions of all runs and checkpoints (`next_tokens.csv`)."""
    parts = []
    for identity in runs.identities():
        for n in runs.checkpoints_of(identity["method"]):
            path = runs.paths.at(**identity, n=n).next_tokens
            parts.append(tables.identify(read_scores(path), **identity, edits=n))
    return next_tokens.means(pd.concat(parts, ignore_index=True))


def read_scores(path: str) -> pd.DataFrame:
    """A file of scores, with ids as text."""
    return pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)


def _pairs(path: str) -> list[conflicts.Pair]:
    """The pairs of conflicting requests of a run."""
    order = requests.read_requests(path)
    return [
        conflicts.Pair(one.id, other.id, place, one.target_new == other.target_new)
        for one, other, place in ((order[i], order[k], k) for i, k in conflicting_pairs(order))
    ]


def _references(path: str) -> dict[str, Any]:
    """Joined reference texts by request id, and the tf-idf weights of their terms."""
    by_request = {one.id: one.references for one in requests.read_requests(path)}
    return {
        "references": {name: " ".join(texts) for name, texts in by_request.items() if texts},
        "tfidf": fluency.Tfidf(text for texts in by_request.values() for text in texts),
    }


def _edit_records(path: str) -> pd.DataFrame:
    """A checkpoint's record of each request: steps, loss, attained fraction, seconds."""
    # Trained methods have no attained fraction: None becomes NaN.
    return pd.DataFrame(hdf5.read_edit_records(path)).astype({"attained": float})


def task_tables(runs: Runs, headlines: Sequence[Sequence[str]]) -> dict[str, pd.DataFrame]:
    """The tables of an experiment's downstream tasks, by name (`catalog.TASK_TABLES`).

    runs: its checkpoints are those where tasks are evaluated. headlines: pairs of task and headline
    metric. Also reads the experiment's summary.
    """
    paths = runs.paths
    unedited = {
        model: _read_task_scores(paths.at(model=model).unedited_task_scores)
        for model in runs.models
    }
    compared = []
    parts = [
        tables.identify(frame, model=model, dataset="", method="unedited", seed="", edits=0)
        for model, frame in unedited.items()
    ]
    for identity in runs.identities():
        for n in runs.checkpoints_of(identity["method"]):
            checkpoint = {**identity, "edits": n}
            edited = _read_task_scores(paths.at(**identity, n=n).task_scores)
            compared.append((checkpoint, edited, unedited[str(identity["model"])]))
            parts.append(tables.identify(edited, **checkpoint))
    ability_table = abilities.abilities(compared, {task: metric for task, metric in headlines})
    summary = tables.read(paths.at(table="summary").table)
    return {
        "task_scores": pd.concat(parts, ignore_index=True),
        "abilities": ability_table,
        "comparison": abilities.comparison(summary, ability_table),
    }


def _read_task_scores(path: str) -> pd.DataFrame:
    """The rows of one evaluation. Only empty cells are missing: a task may be called "null"."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"task": str})
