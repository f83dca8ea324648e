"""What ran and for how long: the benchmark files that Snakemake writes of every job."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mose.experiment.paths import BENCHMARKS, JOBS, fill

COLUMNS = ["stage", "jobs", "seconds", "longest", "memory_mb"]


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
        times = []
        for path in sorted(_files(pattern, known)):
            if path not in seen:
                seen.add(path)
                times.append(pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1])
        if times:
            seconds = [float(one["s"]) for one in times]
            memory = pd.Series([one["max_rss"] for one in times]).max()
            rows.append((stage, len(times), sum(seconds), max(seconds), memory))
    return pd.DataFrame(rows, columns=COLUMNS)


def _files(pattern: str, known: Mapping[str, Sequence[Any]]) -> Iterator[Path]:
    """Benchmark files of a stage's jobs."""
    names = [name for name in re.findall(r"\{(\w+)\}", pattern) if name in known]
    for values in itertools.product(*(known[name] for name in names)):
        path = fill(f"{pattern}.tsv", **dict(zip(names, values, strict=True)))
        yield from Path(BENCHMARKS).glob(re.sub(r"\{\w+\}", "*", path))
