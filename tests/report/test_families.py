"""Ranks by families of measures, on values where the families disagree."""

import numpy as np
import pandas as pd
import pytest

from mose.report import families

AT = {"model": "tiny", "dataset": "facts"}
# Efficacy, paraphrase and neighborhood; reliability, generalization and locality; perplexity.
VALUES = {
    "memit": ((0.9, 0.9, 0.9), (0.2, 0.2, 0.2), 40.0),
    "mose": ((0.5, 0.8, 0.8), (0.9, 0.6, 0.3), 30.0),
    "ft": ((0.9, 0.9, 0.0), (0.2, 0.2, 0.2), 99.0),
}


def frames(reached):
    """means and summary; reached: the checkpoints of each method."""
    means, summary = [], []
    for method, (likelihood, tokens, perplexity) in VALUES.items():
        for edits in reached[method]:
            for seed, shift in ((0, -0.1), (1, 0.1)):
                at = {**AT, "method": method, "seed": seed, "edits": edits}
                names = [*families.FAMILIES["likelihood"], *families.FAMILIES["tokens"]]
                for name, value in zip(names, (*likelihood, *tokens), strict=True):
                    shifted = value + shift if value else value
                    means.append({**at, "when": "retention", "metric": name, "mean": shifted})
                    means.append({**at, "when": "immediate", "metric": name, "mean": 0.0})
                summary.append({**at, "perplexity": perplexity + shift + edits})
    return pd.DataFrame(means), pd.DataFrame(summary)


def test_families_rank_the_methods_differently_by_harmonic_means_over_seeds():
    means, summary = frames(dict.fromkeys(VALUES, (20, 40)))
    table = families.ranks(means, summary).set_index("method")
    assert set(table["edits"]) == {40}
    assert table["likelihood"].to_dict() == pytest.approx(
        {"memit": 0.9, "mose": 3 / (1 / 0.5 + 2 / 0.8), "ft": 0.0}
    )
    assert table["tokens"].to_dict() == pytest.approx(
        {"memit": 0.2, "mose": 3 / (1 / 0.9 + 1 / 0.6 + 1 / 0.3), "ft": 0.2}
    )
    assert table["likelihood_rank"].to_dict() == {"memit": 1, "mose": 2, "ft": 3}
    assert table["tokens_rank"].to_dict() == {"memit": 2.5, "mose": 1, "ft": 2.5}
    assert table["perplexity_rank"].to_dict() == {"memit": 2, "mose": 1, "ft": 3}
    assert table[["exact", "exact_rank", "generation", "generation_rank"]].isna().all(axis=None)


def test_methods_are_compared_where_all_of_them_are():
    means, summary = frames({"memit": (20, 40, 60), "mose": (20, 40), "ft": (20, 60)})
    assert set(families.ranks(means, summary)["edits"]) == {20}
    means, summary = frames({"memit": (20,), "mose": (40,), "ft": (40,)})
    empty = families.ranks(means, summary)
    assert empty.empty
    assert "tokens_rank" in empty
    assert np.isin(["method", "perplexity"], empty.columns).all()
