"""What ran and for how long: the benchmark files that Snakemake writes of every job."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mose.experiment.paths import BENCHMARKS, JOBS, fill

COLUMNS = ["stage", "jobs", "seconds", "longest", "memory_mb"]
# Stages whose jobs are of one method, and the one that methods share.
OF_METHOD, SHARED = ("edit", "stability", "measure", "tasks"), "targets"


def job_times(known: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """One row per stage that has run, in the order of `JOBS`.

    known: values of wildcards, such as {"experiment": ["demo"], "seed": [0]}; a file name's other
    wildcards may be anything.
    Columns: stage, jobs (files found), seconds (their sum), longest (seconds of the longest),
    memory_mb (the largest resident memory). Of a job that ran again, its last run counts.
    """
    rows = []
    seen: set[Path] = set()
    # The names of second moments match those of their shards, which come first in JOBS.
    for stage, pattern in JOBS.items():
        paths = [path for path in sorted(_files(pattern, known)) if path not in seen]
        seen.update(paths)
        if paths:
            last = _last_runs(paths)
            seconds = last["s"]
            rows.append((stage, len(paths), seconds.sum(), seconds.max(), last["max_rss"].max()))
    return pd.DataFrame(rows, columns=COLUMNS)


def per_edit(
    known: Mapping[str, Sequence[Any]], edits: int, ends: Mapping[str, int]
) -> pd.DataFrame:
    """Seconds an edit of what methods do, by method and stage.

    known: as in `job_times`, with models, data sets, methods, seeds, and the names of targets that
    methods share: there may be files of others, of options that no method has any more. edits: of
    each method, but for those in `ends`, which stop at that number.
    Columns: method, stage, seconds (by the clock: of a processor's time Snakemake misses up to the
    last 30 s). Targets that methods share have the label "shared".
    """
    sequences = [len(known[name]) for name in ("model", "dataset", "seed")]
    whose = {method: ([method], OF_METHOD) for method in known["method"]}
    rows = []
    for label, (methods, stages) in {"shared": (["*"], (SHARED,)), **whose}.items():
        count = ends.get(label, edits) * math.prod(sequences)
        for stage in stages:
            paths = list(_files(JOBS[stage], {**known, "method": methods}))
            if paths:
                rows.append((label, stage, _last_runs(paths)["s"].sum() / count))
    return pd.DataFrame(rows, columns=["method", "stage", "seconds"])


def _last_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """The last line of each file: s (seconds), max_rss (MB), and others."""
    lines = [pd.read_csv(path, sep="\t", na_values=["-", "NA"]).tail(1) for path in paths]
    return pd.concat(lines)


def _files(pattern: str, known: Mapping[str, Sequence[Any]]) -> Iterator[Path]:
    """Benchmark files of a stage's jobs."""
    names = [name for name in re.findall(r"\{(\w+)\}", pattern) if name in known]
    for values in itertools.product(*(known[name] for name in names)):
        path = fill(f"{pattern}.tsv", **dict(zip(names, values, strict=True)))
        yield from Path(BENCHMARKS).glob(re.sub(r"\{\w+\}", "*", path))
