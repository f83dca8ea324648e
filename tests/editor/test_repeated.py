"""A fact written twice: the later one replaces the earlier, or both stay, or it is refused."""

import pytest
from front_door import FACTS, all_weights, editor_of, refused, same

from mose.editing import sequence
from mose.errors import ConfigError, RequestError

AGAIN = {**FACTS[1], "target_new": "Lima"}


def names(editor):
    return list(editor.edits["request"])


@pytest.mark.parametrize("name", ["memit-keys", "mose-both"])
def test_what_was_replaced_was_never_written(name):
    # Small edits, so that float32 passes do not blur the comparison.
    small = {"targets_from": "unedited", "steps": 2, "learning_rate": 0.01}
    editor, without = (editor_of(name, batch=4, **small) for _ in range(2))
    base = all_weights(editor.model)
    editor.edit(FACTS[:3])
    editor.edit(AGAIN)
    without.edit([FACTS[0], FACTS[2]])
    without.edit(AGAIN)
    assert list(editor.edits["target_new"]) == list(without.edits["target_new"])
    assert names(editor) == ["0", "2", "0#2"]
    assert list(editor.edits["replaces"]) == ["", "", "1"]
    found, expected = all_weights(editor.model), all_weights(without.model)
    moved = max(float((expected[n] - base[n]).norm()) for n in base)
    assert moved > 0
    assert all(float((found[n] - expected[n]).norm()) < 2e-3 * moved for n in base)


def test_of_facts_given_together_the_last_is_written():
    editor, alone = editor_of("memit-keys"), editor_of("memit-keys")
    editor.edit([{**FACTS[1], "id": "early"}, {**AGAIN, "id": "late"}])
    alone.edit({**AGAIN, "id": "late"})
    assert same(all_weights(editor.model), all_weights(alone.model))
    assert editor.edits[["request", "replaces"]].values.tolist() == [["late", "early"]]


def test_both_stay_when_they_are_to_be_kept_and_where_there_is_no_ledger():
    kept = editor_of("memit-keys")
    kept.edit(FACTS[:2])
    kept.edit(AGAIN, repeated="keep")
    assert len(kept.edits) == 3
    without_ledger = editor_of("rome")
    without_ledger.edit(FACTS[:2])
    without_ledger.edit(AGAIN)
    assert len(without_ledger.edits) == 3
    assert set(without_ledger.edits["replaces"]) == {""}


def test_another_prompt_about_the_same_subject_is_another_fact():
    editor = editor_of("memit-keys")
    editor.edit(FACTS[:2])
    editor.edit({**AGAIN, "prompt": "{} is ruled from"})
    assert len(editor.edits) == 3


@pytest.mark.parametrize(
    ("name", "repeated", "kind", "said"),
    [
        ("memit-keys", "refuse", RequestError, ["0#2 has the subject and prompt of 1"]),
        ("memit-keys", "merge", ConfigError, ["found 'merge', expected replace, keep or refuse"]),
        ("rome", "replace", ConfigError, ["rome keeps no ledger", "set keep or refuse"]),
    ],
)
def test_a_refusal_changes_nothing(name, repeated, kind, said):
    editor = editor_of(name)
    editor.edit(FACTS[:2])
    before = all_weights(editor.model)
    refused(kind, said, lambda: editor.edit(AGAIN, repeated=repeated))
    assert same(before, all_weights(editor.model))
    assert names(editor) == ["0", "1"]


@pytest.mark.parametrize("earlier", [FACTS[:3], FACTS[1:2]])
def test_an_interrupted_replacement_leaves_the_earlier_fact(earlier, monkeypatch):
    editor = editor_of("memit-keys")
    editor.edit(earlier)
    before, edits = all_weights(editor.model), editor.edits

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sequence, "write_batch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            editor.edit(AGAIN)
    assert same(before, all_weights(editor.model))
    assert editor.edits.equals(edits)
    editor.edit(AGAIN)
    assert len(editor.edits) == len(earlier)
    assert list(editor.edits["target_new"])[-1] == "Lima"


def test_the_record_survives_saving_and_ends_with_undo(tmp_path):
    editor = editor_of("memit-keys")
    editor.edit(FACTS[:2])
    editor.edit(AGAIN)
    editor.save(tmp_path / "state.h5")
    other = editor_of("memit-keys")
    resumed = type(editor).resume(tmp_path / "state.h5", other.model, other.tokenizer)
    assert list(resumed.edits["replaces"]) == ["", "1"]
    resumed.undo()
    assert resumed.session.replaced == {}


def test_both_stay_where_every_layer_has_its_own_target():
    """With `spread: each` an edit has no one wanted output that could be solved again."""
    editor = editor_of("memit-keys", spread="each", layers=[1, 2])
    editor.edit(FACTS[:2])
    editor.edit(AGAIN)
    assert len(editor.edits) == 3
    refused(ConfigError, ["keeps no ledger"], editor.remove, "France")


def test_a_fact_written_three_times_has_three_ids():
    editor = editor_of("memit-keys")
    editor.edit(FACTS[1])
    editor.edit(AGAIN)
    editor.edit(FACTS[1])
    assert names(editor) == ["0#3"]
    assert list(editor.edits["replaces"]) == ["0#2"]
