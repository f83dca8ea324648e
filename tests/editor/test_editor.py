"""The editor does what the workflow's sequence does, and takes it back exactly."""

import pandas as pd
import pytest
import tiny
import torch
from front_door import SMALL, TEMPLATES, all_weights, editor_of, logits, options_of, same
from sequences import UNEDITED, VARIANTS, parse

import mose
from mose.editing import sequence
from mose.errors import NumericalError, StoreError
from mose.facts.requests import EditRequest
from mose.methods.options import TargetOptions
from mose.methods.register import METHODS
from mose.models import loading
from mose.statistics import cached


def test_every_registered_method_is_among_those_tested():
    tested = {entry["method"] for entry in VARIANTS.values()}
    assert tested >= set(METHODS) - {UNEDITED["method"]}


def by_sequence(name, facts, ends):
    """The model that the workflow's functions edit, with the editor's templates and statistics."""
    lm = tiny.model()
    lm.fingerprint = loading.fingerprint_in_memory(lm.model, lm.tokenizer)
    variant = parse(name, steps=2)
    moments = {}
    if isinstance(variant.edit, TargetOptions):
        options = cached.CorpusOptions(**SMALL)
        moments = cached.second_moments_of(lm, variant.edit.layers, options).by_layer
    weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
    state = sequence.State(sequence.make_editors(weights, moments, variant))
    requests = [EditRequest(id=str(i), **fact) for i, fact in enumerate(facts)]
    for last in ends:
        sequence.run(lm, state, variant, requests, TEMPLATES, 2, last)
    sequence.put_into(lm, state, measured=True)
    return lm.model


@pytest.mark.parametrize("name", VARIANTS)
def test_edits_are_the_workflow_s_and_are_resumed_patched_and_undone_exactly(name, facts, tmp_path):
    editor = editor_of(name)
    before = all_weights(editor.model)
    editor.edit(facts[:2])
    editor.save(tmp_path / "state.h5")
    editor.edit(facts[2:5])
    edited = by_sequence(name, facts[:5], (2, 5))
    assert torch.equal(logits(editor.model), logits(edited))
    assert not torch.equal(logits(editor.model), logits(tiny.model().model))

    fresh = tiny.model()
    resumed = mose.Editor.resume(tmp_path / "state.h5", fresh.model, fresh.tokenizer)
    resumed.edit(facts[2:5])
    assert same(all_weights(editor.model), all_weights(resumed.model))
    seconds = {"seconds": 0.0}
    pd.testing.assert_frame_equal(editor.edits.assign(**seconds), resumed.edits.assign(**seconds))

    editor.save_patch(tmp_path / "edit.safetensors")
    other = tiny.model().model
    mose.apply_patch(other, tmp_path / "edit.safetensors")
    assert same(all_weights(editor.model), all_weights(other))
    mose.remove_patch(other, tmp_path / "edit.safetensors")
    assert same(before, all_weights(other))

    for one in (editor, resumed):
        one.undo()
        assert same(before, all_weights(one.model))
        assert one.edits.empty


def test_what_is_edited_after_undoing_is_what_is_edited_first(facts):
    first, again = editor_of("memit-keys"), editor_of("memit-keys")
    first.edit(facts[:3])
    again.edit(facts[3:])
    again.undo()
    again.edit(facts[:3])
    assert same(all_weights(first.model), all_weights(again.model))


def test_a_directory_is_edited_like_the_model_in_memory(tiny_folder, facts, tmp_path):
    """With templates that are sampled. The fingerprints differ; the numbers do not."""
    options = {**options_of("memit"), "templates": None}
    by_name = mose.Editor.from_pretrained(tiny_folder, device="cpu", **options)
    by_model = mose.Editor(*loading.load_directory(tiny_folder), **options)
    for editor in (by_name, by_model):
        editor.edit(facts[:3])
        editor.save(tmp_path / f"{editor is by_name}.h5")
    assert torch.equal(logits(by_name.model), logits(by_model.model))
    resumed = mose.Editor.resume(tmp_path / "True.h5", device="cpu")
    assert same(all_weights(by_name.model), all_weights(resumed.model))
    with pytest.raises(StoreError, match="give model and tokenizer as well"):
        mose.Editor.resume(tmp_path / "False.h5")
    other = tiny.model(seed=1)
    with pytest.raises(StoreError, match="made with another model"):
        mose.Editor.resume(tmp_path / "False.h5", other.model, other.tokenizer)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("memit-keys", KeyboardInterrupt),
        ("mose-accumulate", NumericalError),
        ("rect", KeyboardInterrupt),
        ("oft", KeyboardInterrupt),
    ],
)
def test_an_interrupted_edit_leaves_the_last_whole_batch(name, error, facts, monkeypatch):
    whole, cut = editor_of(name), editor_of(name)
    whole.edit(facts[:4])
    write = cut.session.lm.write

    def stop_in_the_third_batch(layer, weight):
        write(layer, weight)
        if cut.session.state.edits == 4:
            raise error("stopped")

    monkeypatch.setattr(cut.session.lm, "write", stop_in_the_third_batch)
    with pytest.raises(error, match="stopped"):
        cut.edit(facts)
    monkeypatch.setattr(cut.session.lm, "write", write)
    assert len(cut.edits) == 4
    assert same(all_weights(whole.model), all_weights(cut.model))
    for editor in (whole, cut):
        editor.edit(facts[4:])
    assert same(all_weights(whole.model), all_weights(cut.model))


def test_batches_of_several_calls_are_numbered_in_order(facts):
    editor = editor_of("memit", batch=2)
    for members in (facts[:1], facts[1:4]):
        editor.edit(members)
    assert [one.batch for one in editor.session.state.diagnoses] == [0, 1, 1, 2]
