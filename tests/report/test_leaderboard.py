"""The leaderboard: rows of several runs, each measured against its own unedited model."""

import pandas as pd
import pytest

from mose.report import pages
from mose.report.leaderboard import leaderboard
from mose.report.tables import RATIOS

COLUMNS = ["method", "seed", "edits", "reliability", "generalization", "locality", "perplexity"]
FIRST = [
    ("a", 0, 0, 0.0, 0.0, 1.0, 20.0), ("a", 0, 10, 0.9, 0.6, 0.8, 30.0),
    ("a", 0, 20, 0.5, 0.5, 0.5, 40.0),
    ("a", 1, 0, 0.0, 0.0, 1.0, 10.0), ("a", 1, 10, 0.7, 0.4, 0.6, 11.0),
    ("b", 0, 10, 0.0, 0.9, 0.9, 20.0),
]  # fmt: skip
SECOND = [("c", 0, 0, 0.0, 0.0, 1.0, 8.0), ("c", 0, 10, 0.8, 0.8, 0.8, 10.0)]


@pytest.fixture
def board():
    tables = {
        name: pd.DataFrame(rows, columns=COLUMNS).assign(**dict.fromkeys(RATIOS, 1.0))
        for name, rows in (("one.csv", FIRST), ("two.csv", SECOND))
    }
    runs = pd.DataFrame(
        [
            ("one", "one.csv", 10, "present model", "abc", "run"),
            ("two", "two.csv", 10, "unedited model", "def", "run"),
            ("one", "one.csv", 20, "present model", "abc", "run"),
        ],
        columns=["run", "table", "edits", "targets", "commit", "command"],
    )
    return leaderboard(runs, tables.__getitem__)


def test_rows_are_ranked_by_the_harmonic_mean_of_means_over_seeds(board):
    assert board[["edits", "method"]].values.tolist() == [
        [10, "c"],
        [10, "a"],
        [10, "b"],
        [20, "a"],
    ]
    a = board[(board["method"] == "a") & (board["edits"] == 10)].iloc[0]
    assert a["score"] == pytest.approx(3 / (1 / 0.8 + 1 / 0.5 + 1 / 0.7))
    assert a["seeds"] == 2
    assert board[board["method"] == "b"]["score"].item() == 0


def test_perplexity_is_relative_to_the_same_runs_and_seeds_unedited_model(board):
    ratios = board.set_index(["method", "edits"])["perplexity_ratio"]
    assert ratios["a", 10] == pytest.approx((30 / 20 + 11 / 10) / 2)
    assert ratios["c", 10] == pytest.approx(10 / 8)
    assert ratios["a", 20] == pytest.approx(40 / 20)


def test_the_page_has_a_table_per_number_of_edits(board):
    text = pages.leaderboard_tables(board)
    headings = [line for line in text.splitlines() if line.startswith("###")]
    assert headings == ["### 10 edits", "### 20 edits"]
    assert "| c | 0.800 | 0.800 | 0.800 | 0.800 | 1.250 | 1.0000 | 1.0000 | 1 |" in text
