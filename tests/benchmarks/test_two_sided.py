"""The benchmark of two sides against MEMIT runs, and its columns are what they are called."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import two_sided


def test_both_solvers_are_timed_and_the_weighted_one_comes_nearer_to_the_additive_objective():
    row = two_sided.measure(d_out=24, d_in=60, edits=15)
    assert row["nearest_excess"] > row["weighted_excess"] > 0
    for solver in ("nearest", "weighted"):
        seconds = row[f"{solver}_seconds"]
        assert seconds > 0
        assert row[f"{solver}_ratio"] == pytest.approx(seconds / row["memit_seconds"])
        assert row[f"{solver}_share"] > 0


def test_a_solver_that_takes_hours_can_be_left_out():
    row = two_sided.measure(d_out=24, d_in=60, edits=15, solvers=("nearest",))
    assert row["nearest_seconds"] > 0
    assert not any(name.startswith("weighted") for name in row)
