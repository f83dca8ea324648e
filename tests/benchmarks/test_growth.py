"""The curves of time and memory, on a tiny layer and a tiny model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu
import growth

SMALL = growth.Size(
    shape=(24, 48), memory=(10, 40), models={"tiny": dict(gpu.TINY)}, batches=(1, 3), steps=2,
    requests=2,
)  # fmt: skip


def test_every_curve_has_its_points_and_its_counted_operations():
    table = growth.measure(SMALL)
    points = table.groupby(["curve", "of"])["size"].apply(list).to_dict()
    assert points.pop(("model", "tiny"))[0] < 1
    assert points == {("memory", of): [10, 40] for of in growth.MEMORIES} | {
        ("batch", "tiny"): [1, 3]
    }
    assert (table.drop(columns=["curve", "of"]) > 0).all().all()
    memory = table[table.curve == "memory"].set_index(["of", "size"])
    # A key and a wanted value a row, float64, beside the matrix.
    pair = 8 * (24 + 24) * 30 / 1e6
    grown = (
        memory.memory_MB[("mose, output side", 40)] - memory.memory_MB[("mose, output side", 10)]
    )
    assert abs(grown - pair) < 1e-9
    assert len(growth.draw(table).axes) == 3
