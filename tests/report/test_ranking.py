"""Ranking the variants of a scan."""

import pandas as pd
import pytest

from mose.report import ranking


def summary():
    rows = []
    for method, reliability, perplexity in [
        ("a_lambda1", 0.5, 30.0),
        ("a_lambda2", 0.8, 35.0),
        ("a_lambda3", 0.8, 31.0),
        ("b", 0.1, 30.0),
    ]:
        for seed, shift in ((0, 0.1), (1, -0.1)):
            for edits in (0, 20):
                rows.append(
                    {
                        "method": method, "seed": seed, "edits": edits,
                        "reliability": reliability + shift if edits else 0.0,
                        "generalization": 0.6, "locality": 0.9, "efficacy": 1.0,
                        "paraphrase": 1.0, "neighborhood": 0.9, "perplexity": perplexity,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


ENTRIES = {"a_lambda1": "a", "a_lambda2": "a", "a_lambda3": "a", "b": "b"}
OPTIONS = {
    "a_lambda1": {"method": "memit", "layers": [4, 5], "lambda": 1},
    "a_lambda2": {"method": "memit", "layers": [4, 5], "lambda": 2},
    "a_lambda3": {"method": "memit", "layers": [4, 5], "lambda": 3},
    "b": {"method": "mose", "layers": [6], "lambda": 9},
}


def test_the_best_of_each_entry_comes_first_and_ties_go_to_the_lower_perplexity():
    table = ranking.rank(summary(), ENTRIES, OPTIONS)
    assert table["variant"].tolist() == ["a_lambda3", "a_lambda2", "a_lambda1", "b"]
    assert table["rank"].tolist() == [1, 2, 3, 1]
    assert table["lambda"].tolist() == ["3", "2", "1", "9"]
    assert "layers" not in table, "only what differs within an entry is shown"
    assert table["score"].iloc[0] == pytest.approx(3 / (1 / 0.8 + 1 / 0.6 + 1 / 0.9))


def test_variants_are_compared_where_all_of_them_are():
    table = summary()
    further = table[table["edits"] == 20].assign(edits=40, reliability=0.99)
    longer = pd.concat([table, further[further["method"] == "a_lambda1"]])
    pd.testing.assert_frame_equal(
        ranking.rank(longer, ENTRIES, OPTIONS), ranking.rank(table, ENTRIES, OPTIONS)
    )


def test_a_measure_of_zero_makes_the_score_zero():
    table = summary()
    table.loc[table["method"] == "b", "locality"] = 0.0
    scores = ranking.rank(table, ENTRIES, OPTIONS).set_index("variant")["score"]
    assert scores["b"] == 0
    assert (scores.drop("b") > 0).all()


def test_a_variant_that_nobody_asked_for_is_an_error():
    with pytest.raises(KeyError):
        ranking.rank(summary(), {"a_lambda1": "a"}, OPTIONS)


def test_of_every_model_and_data_set_the_best_of_each_entry_is_settings():
    one = summary().assign(model="m", dataset="x")
    # On the other data set the order is the other way round.
    other = one.assign(dataset="y", reliability=1.0 - one["reliability"])
    table, best = ranking.rank_scan(pd.concat([one, other]), ENTRIES, {"m": OPTIONS})
    assert best.keys() == {"m, x", "m, y"}
    assert best["m, x"] == {"a": OPTIONS["a_lambda3"], "b": OPTIONS["b"]}
    assert best["m, y"] == {"a": OPTIONS["a_lambda1"], "b": OPTIONS["b"]}
    for dataset, part in (("x", one), ("y", other)):
        own = table[table["dataset"] == dataset].drop(columns=["model", "dataset"])
        expected = ranking.rank(part, ENTRIES, OPTIONS)
        pd.testing.assert_frame_equal(own.reset_index(drop=True), expected.reset_index(drop=True))
    lines = ranking.format_ranking(table).splitlines()
    assert len(lines) == 1 + len(table)
    assert "variant" not in lines[0]
