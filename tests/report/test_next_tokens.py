"""Means over prompts, then over requests; over windows for held-out text."""

import pandas as pd
import pytest

from mose.report import next_tokens

AT = {"model": "tiny", "dataset": "facts", "method": "memit", "seed": 0, "edits": 2}


def test_means_are_over_prompts_then_over_requests():
    rows = [(0, "a", "locality", 0, 1.0, 1.0), (0, "a", "locality", 1, 3.0, 0.0),
            (1, "b", "locality", 0, 4.0, 1.0), (-1, "", "heldout", 0, 0.5, 1.0),
            (-1, "", "heldout", 1, 0.7, 0.5)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["order", "request", "kind", "prompt", "kl", "top1"])
    frame = frame.assign(**AT, top5=0.4, top10=0.2)
    table = next_tokens.means(frame).set_index("kind")
    assert table.loc["locality", ["requests", "prompts"]].tolist() == [2, 3]
    assert table.loc["locality", ["kl", "top1"]].tolist() == pytest.approx([3.0, 0.75])
    assert table.loc["heldout", ["requests", "prompts"]].tolist() == [0, 2]
    assert table.loc["heldout", ["kl", "top1"]].tolist() == pytest.approx([0.6, 0.75])
    assert (table["top5"] == 0.4).all()
