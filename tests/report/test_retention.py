"""What later edits left of earlier ones, against sums written out by hand."""

import pandas as pd
import pytest
from score_frames import RUN, history

from mose.report import retention


def test_retention_matrix_groups_requests_by_origin():
    matrix = retention.retention_matrix(history()[0], "generalization")
    found = {(r.origin, r.edits): (r.requests, r.value) for r in matrix.itertuples()}
    assert found.keys() == {(1, 1), (1, 3), (3, 3)}
    assert found[1, 3] == (1, pytest.approx(0.75))
    assert found[3, 3] == (1, 0.0)  # request b; c has no paraphrase
    finer = retention.retention_matrix(history()[0], "reliability", ends=[1, 2, 3])
    assert set(zip(finer.origin, finer.edits, strict=True)) == {(1, 1), (1, 3), (2, 3), (3, 3)}
    with pytest.raises(ValueError, match="request 2 lies beyond the last end 2"):
        retention.retention_matrix(history()[0], ends=[1, 2])


def test_forgetting_compares_the_same_requests():
    metrics = history()[0]
    worse = metrics.edits.eq(3) & metrics.when.eq("retention") & metrics.request.eq("a")
    metrics.loc[worse & metrics.metric.eq("reliability"), "value"] = 0.5
    kept = retention.forgetting(metrics, "reliability")
    rows = {r.origin: (r.requests, r.immediate, r.last) for r in kept.itertuples()}
    assert rows == {
        1: (1, 1.0, 0.5),
        3: (2, pytest.approx((1 + 2 / 3) / 2), pytest.approx((1 + 2 / 3) / 2)),
    }


def test_written_and_kept_groups_batches_by_checkpoint():
    def of(when, edits, values):
        first = edits - 1 if when == "immediate" else 0
        return [
            {**RUN, "when": when, "edits": edits, "order": first + i, "request": "abcd"[first + i],
             "kind": "edit", "prompt": 0, "metric": "reliability", "value": v, "drawn_of": 0}
            for i, v in enumerate(values)
        ]  # fmt: skip

    metrics = pd.DataFrame(
        [row for i, v in enumerate([1.0, 0.8, 0.6, 0.4]) for row in of("immediate", i + 1, [v])]
        + of("retention", 2, [0.9, 0.7])
        + of("retention", 4, [0.5, 0.1, 0.6, 0.2])
    )
    kept = retention.forgetting(metrics, by_checkpoint=True)
    rows = {r.origin: (r.requests, r.immediate, r.last) for r in kept.itertuples()}
    assert rows == {2: (2, pytest.approx(0.9), 0.3), 4: (2, 0.5, pytest.approx(0.4))}
    assert retention.forgetting(metrics).origin.tolist() == [1, 2, 3, 4]


def test_forgetting_curves_are_means_over_requests_of_one_age():
    matrix = pd.DataFrame(
        [(2, 2, 2, 1.0), (2, 4, 2, 0.5), (4, 4, 1, 0.7), (2, 6, 2, 0.2), (4, 6, 1, 0.8)],
        columns=["origin", "edits", "requests", "value"],
    ).assign(metric="reliability", **RUN)
    curves = retention.forgetting_curves(matrix).set_index("age")
    assert curves["value"].to_dict() == pytest.approx(
        {0: (2 * 1.0 + 0.7) / 3, 2: (2 * 0.5 + 0.8) / 3, 4: 0.2}
    )
    assert curves["requests"].to_dict() == {0: 3, 2: 3, 4: 2}
