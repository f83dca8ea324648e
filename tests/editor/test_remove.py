"""Single edits taken back: as if they had never been written."""

import pytest
import torch
from front_door import FACTS, all_weights, editor_of, same

from mose.editing import sequence
from mose.errors import ConfigError, RequestError


def changed(editor):
    """Weights as the model runs with them, by name, less the unedited ones."""
    with editor.session.unedited() as lm:
        base = all_weights(lm.model)
    return {name: tensor - base[name] for name, tensor in all_weights(editor.model).items()}


@pytest.mark.parametrize("name", ["memit-keys", "alphaedit", "mose-both"])
def test_what_was_removed_was_never_written(name):
    # Small edits, so that float32 passes do not blur the comparison.
    small = {"targets_from": "unedited", "steps": 2, "learning_rate": 0.01}
    editor, without = (editor_of(name, batch=4, **small) for _ in range(2))
    editor.edit(FACTS[:4])
    editor.remove("Germany")
    assert "Germany" in [fact["subject"] for fact in FACTS[:4]]
    left = [fact for fact in FACTS[:4] if fact["subject"] != "Germany"]
    without.edit(left)
    assert list(editor.edits["subject"]) == [fact["subject"] for fact in left]
    found, expected = changed(editor), changed(without)
    moved = max(float(change.norm()) for change in expected.values())
    assert moved > 0
    assert all(float((found[n] - expected[n]).norm()) < 2e-3 * moved for n in expected)


def test_an_editor_goes_on_after_a_removal_and_undoes_exactly(tmp_path):
    editor = editor_of("memit-keys")
    before = all_weights(editor.model)
    editor.edit([{**fact, "id": f"f{i}"} for i, fact in enumerate(FACTS[:3])])
    editor.remove(request="f1")
    editor.edit(FACTS[3:5])
    assert list(editor.edits["request"])[:2] == ["f0", "f2"]
    assert len(editor.edits) == 4
    editor.save(tmp_path / "state.h5")
    resumed = type(editor).resume(tmp_path / "state.h5", *fresh_model())
    assert same(all_weights(editor.model), all_weights(resumed.model))
    editor.undo()
    assert same(before, all_weights(editor.model))


def fresh_model():
    other = editor_of("memit-keys")
    return other.model, other.tokenizer


def test_removing_all_is_undo():
    editor = editor_of("memit-keys")
    before = all_weights(editor.model)
    editor.edit(FACTS[:1])
    editor.remove(FACTS[0]["subject"])
    assert same(before, all_weights(editor.model))
    assert editor.edits.empty


def test_an_interrupted_removal_changes_nothing(monkeypatch):
    editor = editor_of("memit-keys")
    editor.edit(FACTS[:3])
    before = all_weights(editor.model)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sequence, "write_wanted", interrupt)
        with pytest.raises(KeyboardInterrupt):
            editor.remove(FACTS[0]["subject"])
    assert same(before, all_weights(editor.model))
    assert len(editor.edits) == 3


def test_wrong_removals_are_one_line():
    editor = editor_of("memit-keys")
    with pytest.raises(RequestError, match="no edit of subject 'Peru'; there are edits of none"):
        editor.remove("Peru")
    with pytest.raises(RequestError, match="either a subject or the id"):
        editor.remove()
    editor.edit(FACTS[:1])
    with pytest.raises(RequestError, match="no edit of request 'x'"):
        editor.remove(request="x")
    rome = editor_of("rome")
    rome.edit(FACTS[:1])
    with pytest.raises(ConfigError, match="rome keeps no ledger"):
        rome.remove(FACTS[0]["subject"])
    assert torch.is_tensor(rome.model.lm_head.weight)
