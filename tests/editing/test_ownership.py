"""A layer editor owns its base: it shares no memory with the model, whose own weights it is given
here as they are, and what the model runs with is what its state restores."""

import math

import pytest
import tiny
import torch
from sequences import VARIANTS, identity, parse, second_moments_of

from mose.editing import checkpoints, sequence
from mose.methods.editors import make_editor

DTYPES = (torch.float32, torch.bfloat16)
ENDS = (2, 4, 6)


def unedited(dtype=torch.float32):
    lm = tiny.model()
    lm.model.to(dtype)
    return lm


def state_of(lm, variant):
    """Editors of the very tensors that the model runs with."""
    weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
    return sequence.State(sequence.make_editors(weights, second_moments_of("llama"), variant))


def restore(path, variant, requests, dtype):
    """A fresh model that runs with a checkpoint, and the checkpoint's state."""
    lm = unedited(dtype)
    state = state_of(lm, variant)
    checkpoints.load(path, state, identity(variant), requests)
    sequence.put_into(lm, state)
    return lm, state


def same_weights(lm, other, variant):
    return all(torch.equal(lm.weight(la), other.weight(la)) for la in variant.edit.layers)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_after_every_batch_the_model_runs_with_what_its_checkpoint_restores(
    name, dtype, requests, templates, tmp_path
):
    variant = parse(name, steps=2)
    lm = unedited(dtype)
    state = state_of(lm, variant)
    resumed, its_state = unedited(dtype), None
    for edits in ENDS:
        path = tmp_path / f"edits{edits}.h5"
        sequence.run(lm, state, variant, requests, templates, 2, edits)
        checkpoints.save(path, state, identity(variant), requests)
        restored, its_own = restore(path, variant, requests, dtype)
        assert same_weights(restored, lm, variant)
        for layer, editor in its_own.editors.items():
            assert torch.equal(editor.weight.to(dtype), lm.weight(layer))
            assert torch.equal(state.editors[layer].weight.to(dtype), lm.weight(layer))

        # The same of a run that goes on from its last checkpoint.
        if its_state is None:
            its_state = state_of(resumed, variant)
        else:
            resumed, its_state = restore(tmp_path / "resumed.h5", variant, requests, dtype)
        sequence.run(resumed, its_state, variant, requests, templates, 2, edits)
        checkpoints.save(tmp_path / "resumed.h5", its_state, identity(variant), requests)
        restored, _ = restore(tmp_path / "resumed.h5", variant, requests, dtype)
        assert same_weights(restored, resumed, variant)
        assert same_weights(resumed, lm, variant), "a resumed run is the same run"
    assert not same_weights(lm, unedited(dtype), variant)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_weights_that_editors_are_made_from_stay_as_they_are(name, dtype, requests, templates):
    variant = parse(name, steps=2)
    given, lm = unedited(dtype), unedited(dtype)
    state = state_of(given, variant)
    for edits in ENDS[:2]:
        sequence.run(lm, state, variant, requests, templates, 2, edits)
    assert same_weights(given, unedited(dtype), variant)
    for editor in state.editors.values():
        assert torch.isfinite(editor.measured).all()
    assert same_weights(given, unedited(dtype), variant)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_change_of_the_model_does_not_reach_its_editors(name):
    variant = parse(name)
    lm = unedited()
    state = state_of(lm, variant)
    for layer in variant.edit.layers:
        lm.weight(layer).zero_()
    for layer, editor in state.editors.items():
        for weight in (editor.weight, editor.measured):
            assert torch.allclose(weight.float(), unedited().weight(layer), atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_states_are_snapshots_and_editors_that_load_them_share_nothing(name, requests, templates):
    variant = parse(name, steps=2)
    lm, earlier = unedited(), unedited()
    state = state_of(lm, variant)
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    sequence.put_into(earlier, state)
    layer = variant.edit.layers[-1]
    kept, expected = state.editors[layer].state(), earlier.weight(layer)
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    assert not torch.equal(lm.weight(layer), expected)
    again = make_editor(unedited().weight(layer), second_moments_of("llama")[layer], variant)
    again.load(kept)
    assert torch.equal(again.weight.float(), expected)
    for array in kept.values():
        array.zero_()
    assert torch.equal(again.weight.float(), expected)


def test_a_weight_that_is_put_stays_the_callers():
    variant = parse("memit")
    editor = make_editor(torch.zeros(4, 6), second_moments_of("llama")[1], variant)
    mine = torch.ones(4, 6)
    editor.put(mine)
    mine.zero_()
    assert (editor.weight == 1).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rect_changes_its_share_of_entries_from_the_first_batch_on(dtype, requests, templates):
    variant = parse("rect", kept_share=0.4)
    lm, before = unedited(dtype), unedited(dtype)
    sequence.run(lm, state_of(lm, variant), variant, requests, templates, 2, 2)
    for layer in variant.edit.layers:
        changed = int((lm.weight(layer) != before.weight(layer)).sum())
        most = math.ceil(0.4 * lm.weight(layer).numel())
        # A change may be smaller than the last digit of what it is added to.
        assert (0.98 if dtype is torch.float32 else 0.6) * most < changed <= most


def test_a_trained_rotation_is_applied_once(requests, templates, tmp_path):
    variant = parse("oft")
    lm, before = unedited(), unedited()
    state = state_of(lm, variant)
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    checkpoints.save(tmp_path / "edits4.h5", state, identity(variant), requests)
    restored, _ = restore(tmp_path / "edits4.h5", variant, requests, torch.float32)
    for layer in variant.edit.layers:
        moved = torch.dist(lm.weight(layer), before.weight(layer))
        assert moved == torch.dist(restored.weight(layer), before.weight(layer)) > 1
        # And it is a rotation of what it began with.
        rotation = state.editors[layer].rotation.float()
        assert torch.allclose(lm.weight(layer), before.weight(layer) @ rotation, atol=1e-4)
