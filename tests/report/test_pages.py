"""The page of results: regenerated, and every number in it from a table."""

import re
from pathlib import Path

import pandas as pd
import pytest

from mose.errors import StoreError
from mose.report import pages, tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


PAGES = {"page.md": "results.md", "leaderboard.md": "leaderboard.md"}


@pytest.mark.parametrize(("template", "page"), PAGES.items())
def test_the_committed_page_is_what_its_tables_give(template, page):
    made = pages.render((RESULTS / template).read_text(), RESULTS)
    assert made == (ROOT / "docs" / page).read_text(), (
        f"run scripts/results_page.py --template docs/results/{template} --out docs/{page}"
    )


@pytest.mark.parametrize("template", PAGES)
def test_no_measured_number_of_the_page_is_typed_by_hand(template):
    text = (RESULTS / template).read_text()
    for given in (r"`[^`]*`", r"\{\{.*?\}\}", r"\]\([^)]*\)", r"<!--.*?-->"):
        text = re.sub(given, "", text)
    assert "reliability" in text
    # Counts and settings are whole numbers; what has a fraction was measured.
    assert re.findall(r"\d*\.\d+", text) == []


def summary(seeds):
    measures = [*tables.SCORES, "perplexity", *tables.RATIOS]
    rows = [
        {
            "method": method, "seed": seed, "edits": edits, "model": "m", "dataset": "d",
            **dict.fromkeys(measures, 0.1 * (seed + 1) if edits else 0.0),
        }
        for method in ("a", "b") for seed in seeds for edits in (0, 10, 20)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_summary_has_the_unedited_model_once_and_each_method_at_its_last_checkpoint():
    lines = pages.summary_table(summary([0])).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["unedited", "a", "b"]
    assert lines[3].startswith("| d, m | a | 20 | 1 | 0.100 | 0.100 |")


def test_several_seeds_show_mean_and_spread():
    lines = pages.summary_table(summary([0, 1, 2])).splitlines()
    assert lines[3].startswith("| d, m | a | 20 | 3 | 0.200 ± 0.100 |")


def test_a_table_can_be_shown_as_it_is():
    table = pages.plain_table(pd.DataFrame({"layer": [4, 5], "null_share": [0.12345, None]}))
    assert table.splitlines()[2:] == ["| 4 | 0.123 |", "| 5 |  |"]


def test_a_number_in_a_sentence_is_the_mean_over_seeds_with_its_spread(tmp_path):
    summary([0, 1, 2]).to_csv(tmp_path / "s.csv")
    summary([1]).to_csv(tmp_path / "one.csv")
    page = "{{s.csv locality method=b edits=20}}, {{one.csv perplexity method=a edits=10}}."
    assert pages.render(page, tmp_path) == "0.20 ± 0.10, 0.2."


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("locality method=a", "expected one row per seed, found 3 rows of 1 seeds"),
        ("locality method=c edits=20", "expected one row per seed, found 0 rows of 0 seeds"),
        ("loyalty method=a edits=20", "no column 'loyalty'; there are "),
        ("locality mehtod=a edits=20", "no column 'mehtod'; there are "),
    ],
)
def test_a_number_that_the_table_has_not_or_has_twice_is_refused(asked, why, tmp_path):
    summary([0]).to_csv(tmp_path / "s.csv")
    with pytest.raises(StoreError, match=re.escape(f"s.csv: {{{{s.csv {asked}}}}}: {why}")):
        pages.render(f"{{{{s.csv {asked}}}}}", tmp_path)


def test_a_trajectory_has_every_checkpoint():
    lines = pages.trajectory_table(summary([0, 1])).splitlines()
    found = [line.split(" | ")[1:3] for line in lines[2:]]
    assert found == [["unedited", "0"], *([m, n] for m in "ab" for n in ("10", "20"))]
    assert lines[4].split(" | ")[3:5] == ["2", "0.150 ± 0.071"]


def test_protocols_stand_side_by_side_at_the_last_checkpoint():
    rows = [
        {"method": method, "seed": 0, "edits": edits, "metric": metric, "requests": 100,
         "model": "m", "dataset": "d", "token_level": 0.75, "all_tokens": 0.5,
         "generated_exact": 0.25 * bool(edits), "generated_contains": 0.25}
        for method in ("a", "b") for edits in (0, 10, 20)
        for metric in ("reliability", "generalization")
    ]  # fmt: skip
    lines = pages.protocols_table(pd.DataFrame(rows)).splitlines()
    assert [line.split(" | ")[1:4] for line in lines[2:]] == [
        [metric, method, edits]
        for metric in ("reliability", "generalization")
        for method, edits in (("unedited", "0"), ("a", "20"), ("b", "20"))
    ]
    assert lines[3] == "| d, m | reliability | a | 20 | 100 | 0.750 | 0.500 | 0.250 | 0.250 |"


def test_a_scan_marks_the_best_of_each_entry():
    ranking = pd.DataFrame(
        {"entry": ["a", "a", "b", "b"], "variant": list("wxyz"), "rank": [1, 2, 1, 2],
         "lambda": [10.0, 100.0, None, None], "layers": ["[1]", "[1]", "[2]", "[3]"],
         "score": [0.5, 0.25, 1.0, None], "model": "m", "dataset": "d"}
    )  # fmt: skip
    table = pages.scan_table(ranking).splitlines()
    assert table == [
        "| entry | settings | score |",
        "| --- | --- | --- |",
        "| **a** | **lambda 10** | **0.500** |",
        "| a | lambda 100 | 0.250 |",
        "| **b** | **layers [2]** | **1.000** |",
        "| b | layers [3] |  |",
    ]


def test_a_missing_table_and_an_unknown_kind_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"none\.csv: no such table"):
        pages.render("<!-- summary: none.csv -->", tmp_path)
    known = "summary, trajectory, protocols, abilities, scan, differences, table"
    with pytest.raises(StoreError, match=f"magic: no such kind of table; known are {known}"):
        pages.render("<!-- magic: none.csv -->", tmp_path)


def test_retained_abilities_stand_with_their_interval():
    row = {"model": "m", "dataset": "d", "method": "memit", "edits": 40, "reliability": 0.5}
    bounds = {"retained": 98.53, "retained_low": 92.06, "retained_high": 106.25}
    missing = dict.fromkeys(bounds, float("nan"))
    table = pd.DataFrame([{**row, "rte": 0.25, **bounds}, {**row, "rte": 0.0, **missing}])
    lines = pages.abilities_table(table).splitlines()
    assert lines[0] == "| data set, model | method | edits | reliability | rte | retained % |"
    assert lines[2] == "| d, m | memit | 40 | 0.500 | 0.250 | 98.5 (92.1 to 106.2) |"
    assert lines[3] == "| d, m | memit | 40 | 0.500 | 0.000 |  |"


def test_differences_stand_with_their_intervals_best_first_and_those_beyond_zero_bold(tmp_path):
    rows = [
        {"model": "m", "dataset": "d", "seed": 0, "edits": edits, "method": method, "baseline": "b",
         "metric": metric, "requests": 9, "difference": value, "low": value - 0.05,
         "high": value + 0.05}
        for edits in (10, 20)
        for method, value in (("a", -0.1), ("c", 0.01))
        for metric in ("reliability", "edit_score")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "d.csv", index=False)
    lines = pages.render("<!-- differences: d.csv -->", tmp_path).splitlines()
    assert lines[1] == "| method | less | edits | seed | reliability | harmonic mean |"
    bold, plain = "**-0.100 (-0.150 to -0.050)**", "+0.010 (-0.040 to +0.060)"
    assert lines[3:] == [
        f"| c | b | 20 | 0 | {plain} | {plain} |",
        f"| a | b | 20 | 0 | {bold} | {bold} |",
    ]
    some = pages.render("<!-- differences: d.csv method=a edits=10 -->", tmp_path).splitlines()
    assert some[3:] == [f"| a | b | 10 | 0 | {bold} | {bold} |"]
    with pytest.raises(StoreError, match="no such rows"):
        pages.render("<!-- differences: d.csv method=none -->", tmp_path)
    with pytest.raises(StoreError, match="no column 'metod'"):
        pages.render("<!-- differences: d.csv metod=a -->", tmp_path)
