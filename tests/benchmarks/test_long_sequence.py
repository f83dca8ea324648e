"""Two hundred single edits in one chain: the rotation stays one, whatever the model is kept in."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import long_sequence


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_neither_norm_nor_condition_drifts_beyond_one_rounding(storage):
    options = long_sequence.VARIANTS["mose, free, memory"]
    (row,) = long_sequence.chain(options, storage, 200)
    assert row["orthogonality_error"] < 1e-13
    assert row["frobenius_drift"] < {"float32": 1e-6, "bfloat16": 1e-3}[storage]
    assert row["condition_drift"] < {"float32": 1e-5, "bfloat16": 2e-2}[storage]
    assert row["other_growth_MB"] < 20
