"""The benchmark of a batch, on a tiny model: both procedures write the same weights."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import batch
import gpu
import plain


def compared():
    return batch.compare(batch.model(gpu.TINY), (1, 2), batch.FACTS[:3], 1)


def test_the_published_procedure_and_ours_agree():
    rows = compared()
    assert [row["procedure"] for row in rows] == [batch.PUBLISHED, "ours, adam", "ours, margin"]
    assert rows[0]["ratio"] == 1
    assert all(row["seconds_per_fact"] > 0 for row in rows)


def test_other_weights_are_an_error(monkeypatch):
    """Residuals that are not divided by the number of layers left."""
    delta = plain.alphaedit_delta
    monkeypatch.setattr(plain, "alphaedit_delta", lambda k, r, p, ridge: delta(k, 2 * r, p, ridge))
    with pytest.raises(RuntimeError, match="weights: the two differ"):
        compared()
