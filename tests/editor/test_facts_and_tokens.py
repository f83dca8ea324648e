"""Facts that the model's tokens do not allow: refused before anything is made, where it matters."""

import pytest
from front_door import FACTS, editor_of

from mose.errors import RequestError


@pytest.mark.parametrize("name", ["memit", "mose"])
def test_a_fact_that_tokens_do_not_allow_is_refused_before_statistics_and_the_first_batch(name):
    # One token of this tokenizer holds "capital". The fact is in the second batch.
    cut = {"subject": "capita", "prompt": "The {}l of", "target_new": "Rome", "id": "cut"}
    editor = editor_of(name)
    with pytest.raises(RequestError, match=r"request cut: subject 'capita' .* leave it out"):
        editor.edit([*FACTS[:2], cut])
    assert editor.session.requests == []
    assert editor.session._materials is None  # neither templates nor second moments were made


def test_a_method_that_needs_no_subject_takes_a_subject_that_ends_within_a_token():
    editor = editor_of("ft")
    editor.edit({"subject": "capita", "prompt": "The {}l of", "target_new": "Rome"})
    assert len(editor.edits) == 1
