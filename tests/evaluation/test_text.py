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
        (" Washington, D.C. It is a city.", "Washington, D.C.", True, True),
        (" Washington, D.C", "Washington, D.C.", True, True),
        (" Washington, D.C. and Rome.", "Washington, D.C.", False, True),
        (" A. So it is.", "A", True, False),
        ("", "the", False, False),
        ("", "Rome", False, False),
        (" anything", "the", False, False),
    ],
)
def test_exact_and_contained_answers(generated, answer, exact, inside):
    assert says_exactly(generated, answer) == exact
    assert contains(generated, answer) == inside
