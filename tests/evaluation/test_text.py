"""How answers are compared."""

import pytest

from mose.evaluation.text import contains, normalised, says_exactly


def test_normalisation_is_squads():
    assert normalised(' The  Beatles\' "Help!", an album') == "beatles help album"


@pytest.mark.parametrize(
    ("generated", "answer", "exact", "inside"),
    [
        (" Rome.", "Rome", True, True),
        (" the Rome\nMore", "Rome", True, True),
        (" Rome. It is not Paris.", "Rome", True, True),
        (" St. Louis. And so on", "St. Louis", True, True),
        (" Rome, the capital", "Rome", False, True),
        (" Romeo", "Rome", False, False),
        ("", "Rome", False, False),
        (" anything", "the", False, False),
    ],
)
def test_exact_and_contained_answers(generated, answer, exact, inside):
    assert says_exactly(generated, answer) == exact
    assert contains(generated, answer) == inside
