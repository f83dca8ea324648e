"""Two ways to compute one thing: that they agree, and how long each takes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def pair(fast: Callable[[], Any], slow: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of both, run alternately."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for place, call in enumerate((fast, slow)):
            started = time.perf_counter()
            call()
            times[place].append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def agree(name: str, ours: torch.Tensor, theirs: torch.Tensor, bound: float) -> float:
    """Relative difference of the results. Raises RuntimeError above `bound`."""
    difference = float((ours.double() - theirs.double()).norm() / theirs.double().norm())
    if not difference < bound:
        raise RuntimeError(f"{name}: the two differ by {difference:.2g}, more than {bound:.2g}")
    return difference
