"""Which of two conflicting edits a model goes by, from rows written by hand."""

import math

import pandas as pd
import pytest
from score_frames import COLUMNS

from mose.report.conflicts import Pair, conflict_metrics, current


def row(order, request, probability, tokens=1, kind="edit"):
    """A row of a prompt whose new object has that probability."""
    return (order, request, kind, 0, tokens, 0, math.log(probability), 1, 0, -1.0, "1")


PAIRS = [Pair("a", "a#2", 4), Pair("b", "b#2", 5), Pair("c", "c#2", 6), Pair("d", "d#2", 7)]
ROWS = [
    *(row(0, "a", 0.2), row(4, "a#2", 0.7)),  # the later one
    *(row(1, "b", 0.6), row(5, "b#2", 0.3)),  # the earlier one
    # Neither; per token the later one is likelier: 0.05 ** (1 / 2) > 0.2.
    *(row(2, "c", 0.2), row(6, "c#2", 0.05, tokens=2)),
    *(row(3, "d", 0.4), row(7, "d#2", 0.4)),  # a tie
    row(8, "alone", 0.9),
    *(row(0, "a", 0.9, kind="paraphrase"), row(4, "a#2", 0.01, kind="paraphrase")),
]
EXPECTED = {
    "a#2": {"later": 1, "earlier": 0, "neither": 0, "score": 1},
    "b#2": {"later": 0, "earlier": 1, "neither": 0, "score": 0},
    "c#2": {"later": 0, "earlier": 0, "neither": 1, "score": 1},
    "d#2": {"later": 0, "earlier": 0, "neither": 1, "score": 0},
}


@pytest.fixture
def scores():
    return pd.DataFrame(ROWS, columns=COLUMNS)


def found(scores, edits, pairs=PAIRS):
    table = conflict_metrics(scores, pairs, edits)
    assert list(table.columns) == ["order", "request", "kind", "prompt", "metric", "value"]
    values: dict[str, dict[str, float]] = {}
    for one in table.itertuples():
        values.setdefault(one.request, {})[one.metric.removeprefix("conflict_")] = one.value
    return values


def test_a_pair_is_judged_by_the_largest_of_three_probabilities(scores):
    assert found(scores, 9) == EXPECTED


def test_a_pair_is_judged_once_its_later_request_is_edited(scores):
    early = scores[scores.order < 6]
    assert found(early, 6) == {name: EXPECTED[name] for name in ("a#2", "b#2")}
    assert found(scores[scores.order < 4], 4) == {}


def test_a_pair_of_which_one_was_not_scored_is_left_out(scores):
    for left_out in ("a", "a#2"):
        assert "a#2" not in found(scores[scores.request != left_out], 9)


def test_replaced_requests_do_not_count_any_more(scores):
    assert set(current(scores, PAIRS, 6).request) == {"a#2", "b#2", "c", "d", "c#2", "d#2", "alone"}
    # Also where the later one was edited and not scored.
    assert "a" not in set(current(scores[scores.request != "a#2"], PAIRS, 6).request)
    assert current(scores, [], 9).equals(scores)


def test_of_three_requests_the_last_two_are_a_pair(scores):
    third = pd.DataFrame([row(9, "a#3", 0.1)], columns=COLUMNS)
    longer = pd.concat([scores, third], ignore_index=True)
    values = found(longer, 10, [*PAIRS, Pair("a#2", "a#3", 9)])
    assert "a#2" not in values
    assert values["a#3"] == {"later": 0, "earlier": 1, "neither": 0, "score": 0}


def test_a_request_that_is_repeated_as_it_was_is_no_conflict(scores):
    repeated = [Pair("a", "a#2", 4, repeats=True), *PAIRS[1:]]
    assert len(conflict_metrics(scores, repeated, 10)) == len(
        conflict_metrics(scores, PAIRS[1:], 10)
    )
    assert "a" not in set(current(scores, repeated, 10)["request"])
