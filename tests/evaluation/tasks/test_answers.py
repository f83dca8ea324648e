"""Metrics of text, against definitions written out anew and against other people's code."""

import json
import random
from functools import cache

import pytest
from rouge_score.rouge_scorer import RougeScorer

from mose.evaluation.tasks import answers

ROUGE = ("rouge1", "rouge2", "rougeL")


def slow_rouge(answer, right, name):
    """By definition, n-gram by n-gram, with a recursive longest common subsequence."""

    def words(text):
        kept = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
        return kept.split()

    given, wanted = words(answer), words(right)
    if name == "rougeL":

        @cache
        def longest(i, j):
            if i == len(given) or j == len(wanted):
                return 0
            if given[i] == wanted[j]:
                return 1 + longest(i + 1, j + 1)
            return max(longest(i + 1, j), longest(i, j + 1))

        common, a, b = longest(0, 0), len(given), len(wanted)
    else:
        n = int(name[-1])
        first = [tuple(given[i : i + n]) for i in range(len(given) - n + 1)]
        second = [tuple(wanted[i : i + n]) for i in range(len(wanted) - n + 1)]
        a, b, left, common = len(first), len(second), list(second), 0
        for gram in first:
            if gram in left:
                left.remove(gram)
                common += 1
    return 2 * common / (a + b) if common else 0.0


def test_rouge_is_what_its_definition_says():
    rng = random.Random(0)
    words = ["the", "cat", "Cat's", "sat", "on", "mat.", "9th", "día", "--"]
    for _ in range(200):
        one, two = (" ".join(rng.choices(words, k=rng.randint(0, 9))) for _ in range(2))
        for name in ROUGE:
            assert answers.METRICS[name](one, two) == pytest.approx(slow_rouge(one, two, name))
        mean = sum(slow_rouge(one, two, name) for name in ROUGE) / 3
        assert answers.METRICS["rouge"](one, two) == pytest.approx(mean)


def test_rouge_is_exactly_that_of_rouge_score(real_data):
    scorer = RougeScorer(ROUGE, use_stemmer=False)
    records = json.loads((real_data / "tasks" / "samsum.json").read_text())[:200]
    for one, other in zip(records, records[1:] + records[:1], strict=True):
        for text in (one["dialogue"][:300], other["summary"]):
            theirs = scorer.score(one["summary"], text)
            ours = answers.score(text, [one["summary"]], ROUGE)
            assert ours == {name: theirs[name].fmeasure for name in ROUGE}


@pytest.mark.parametrize(
    ("answer", "right", "exact", "inside", "f1"),
    [
        ("The Beatles!", ["beatles"], 1, 1, 1),
        ("an  Apple", ["apple pie"], 0, 0, 2 / 3),
        ("in 1972, I think", ["14 December 1972", "1972"], 0, 1, 2 / 4),
        ("1972 1972", ["1972"], 0, 1, 2 / 3),
        ("", ["one"], 0, 0, 0),
        ("the", ["a"], 1, 0, 1),
        ("theatre", ["atre"], 0, 0, 0),
    ],
)
def test_exact_match_and_f1_after_the_usual_normalisation(answer, right, exact, inside, f1):
    found = answers.score(answer, right, ["exact_match", "contains", "token_f1"])
    assert found["exact_match"] == exact
    assert found["contains"] == inside
    # "in 1972 i think": four words, one of them right: precision 1/4, recall 1.
    expected = 2 * 0.25 / 1.25 if answer.startswith("in") else f1
    assert found["token_f1"] == pytest.approx(expected)


def test_a_question_counts_once_however_many_answers_fit():
    found = answers.score("one season", ["one season", "one", "season", "a season"], ["contains"])
    assert found == {"contains": 1.0}


def test_leading_whitespace_goes_before_the_stop_strings_and_nothing_else_is_stripped():
    assert answers.cut("\n\n Paris\nQ: next", ["\n", "Q:"]) == ("Paris", True)
    assert answers.cut(" Paris in France", ["\n"]) == ("Paris in France", False)
    assert answers.cut("ends in 13 letters<|x|>", []) == ("ends in 13 letters<|x|>", False)


def test_every_score_is_a_number_that_a_table_can_hold():
    found = answers.score("It is Paris.", ["Rome", "Paris"], list(answers.METRICS))
    assert {type(value) for value in found.values()} == {float}
    assert (found["contains"], found["exact_match"]) == (1.0, 0.0)
