"""Points of collapse by hand, and correlations against another program's."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from mose.report import collapse, drift, tables

AT = {"model": "tiny", "dataset": "facts", "seed": 0}
NUMBERS = (0, 20, 40, 60, 80)


def summary_of(**by_method):
    """Reliability at the checkpoints after the first edit; other scores stay at .5."""
    rows = []
    for method, values in by_method.items():
        for edits, value in zip(NUMBERS, (0.1, *values), strict=True):
            scores = dict.fromkeys(tables.SCORES, 0.5) | {"reliability": value}
            rows.append({**AT, "method": method, "edits": edits, **scores, "perplexity": 9.0})
    return pd.DataFrame(rows)


def test_the_point_is_the_first_checkpoint_below_six_tenths_of_the_first_score():
    summary = summary_of(
        falls=(1.0, 0.7, 0.59, 0.9), stays=(0.5, 0.3, 0.3, 0.3), never=(0.0, 0.0, 0.5, 0.1)
    )
    summary = summary.sample(frac=1, random_state=0)  # in any order
    points = collapse.collapse_points(summary)
    own = points[points["metric"] == "reliability"].set_index("method")
    shown = ["first_edits", "first", "collapse", "last_edits", "last"]
    assert own.loc["falls", shown].tolist() == [20, 1.0, 60, 80, 0.9]
    assert np.isnan(own.loc["stays", "collapse"]), "just at the bound is not below it"
    assert "never" not in own.index, "a score that begins at 0 cannot fall"
    others = points[points["metric"] != "reliability"]
    assert others["collapse"].isna().all()
    assert len(others) == 3 * (len(tables.SCORES) - 1)


def test_correlations_are_spearman_s_over_all_methods_and_checkpoints():
    rng = np.random.default_rng(3)
    summary = summary_of(memit=rng.uniform(size=4), mose=rng.uniform(size=4))
    summary["perplexity"] = rng.uniform(10, 99, len(summary))
    summary.loc[summary["edits"] == 80, "perplexity"] = np.inf
    moved = summary.loc[summary["edits"] > 0, tables.CHECKPOINT].reset_index(drop=True)
    names = ("frobenius_ratio", "condition_ratio", "relative_change", "left_similarity",
             "right_similarity", "energy_ratio")  # fmt: skip
    stability = moved.assign(layer=3, **{name: rng.uniform(size=len(moved)) for name in names})
    stability["energy_ratio"] = 1.0  # no drift, so no order
    matrix = pd.concat(
        moved.assign(metric=metric, origin=origin, value=rng.uniform(size=len(moved)))
        for metric in ("reliability", "locality")
        for origin in (20, 40)
    )
    table = collapse.drift_correlations(summary, stability, matrix)
    assert len(table) == len(drift.MEASURES) * len(collapse.FOLLOWED)
    assert set(table["points"]) == {8}
    assert set(table["methods"]) == {2}
    found = table.set_index(["measure", "score"])["correlation"]
    edited = summary[summary["edits"] > 0].reset_index(drop=True)
    first = matrix[(matrix["metric"] == "reliability") & (matrix["origin"] == 20)]["value"]
    change = stability["relative_change"]
    left = 1 - stability["left_similarity"]
    for measure, values in (("change", change), ("left", left)):
        for score, scores in (
            ("reliability", edited["reliability"]),
            ("perplexity", edited["perplexity"]),
            ("first_group", first),
        ):
            expected = spearmanr(values.to_numpy(), scores.to_numpy()).statistic
            assert found[measure, score] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found["energy", "reliability"])
    assert np.isnan(found["change", "locality"])
