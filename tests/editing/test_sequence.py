"""The loop on a tiny model: it writes, spreads, checkpoints, resumes and refuses."""

import numpy as np
import pytest
import tiny
import torch
from sequences import UNEDITED, VARIANTS, WITHOUT_TARGETS, identity, parse, second_moments_of

from mose.editing import checkpoints, sequence, spreading, writing
from mose.errors import StoreError
from mose.linalg import second_moment
from mose.methods.register import METHODS
from mose.statistics import keys
from mose.storage import hdf5


@pytest.fixture(params=VARIANTS)
def variant(request):
    return parse(request.param)


@pytest.fixture(scope="module")
def moments():
    return second_moments_of("llama")


def fresh(variant, moments, kind="llama"):
    """A model, its unedited weights (another model's, which nothing edits), and fresh editors."""
    lm, unedited = tiny.model(kind), tiny.model(kind)
    own, weights = (
        {layer: of.weight(layer) for layer in variant.edit.layers} for of in (lm, unedited)
    )
    return lm, weights, sequence.State(sequence.make_editors(own, moments, variant))


def mean_logprob(lm, requests):
    from mose.evaluation.prompt_scores import score_targets

    scores = score_targets(lm, [(r.text, r.target_new) for r in requests])
    return float(np.mean([score.logprob / score.tokens for score in scores]))


def test_edits_make_the_new_objects_likelier(variant, moments, requests, templates):
    lm, _, state = fresh(variant, moments)
    before = mean_logprob(lm, requests)
    seen = []
    sequence.run(
        lm, state, variant, requests, templates, 2, 6, lambda i, batch: seen.append((i, len(batch)))
    )
    assert mean_logprob(lm, requests) > before + 0.1
    assert seen == [(0, 2), (2, 2), (4, 2)]
    assert [d.order for d in state.diagnoses] == list(range(6))
    assert [d.batch for d in state.diagnoses] == [0, 0, 1, 1, 2, 2]
    for diagnosis in state.diagnoses:
        assert diagnosis.seconds > 0
        if variant.method in WITHOUT_TARGETS:
            assert diagnosis.attained is None
        else:
            searches = len(variant.edit.layers) if variant.edit.spread == "each" else 1
            assert diagnosis.steps == 8 * searches or variant.method == "encore"
            assert diagnosis.attained > 0
            # ROME's at the mean key has no bound; tests/methods/test_rome.py has its value.
            assert diagnosis.attained < 1.5 or variant.method == "rome"


def test_a_resumed_sequence_is_the_same_sequence(variant, moments, requests, templates, tmp_path):
    lm, weights, state = fresh(variant, moments)
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    checkpoints.save(tmp_path / "edits4.h5", state, identity(variant), requests)

    ends = []
    for _ in range(2):
        again, _, resumed = fresh(variant, moments)
        checkpoints.load(tmp_path / "edits4.h5", resumed, identity(variant), requests)
        sequence.put_into(again, resumed)
        for layer in weights:
            assert torch.allclose(again.weight(layer), lm.weight(layer), atol=1e-6)
        assert resumed.edits == 4
        assert resumed.diagnoses == state.diagnoses
        sequence.run(again, resumed, variant, requests, templates, 2, 6)
        ends.append({layer: again.weight(layer) for layer in weights})
    sequence.run(lm, state, variant, requests, templates, 2, 6)
    for layer in weights:
        assert torch.equal(ends[0][layer], ends[1][layer])
        assert torch.allclose(ends[0][layer], lm.weight(layer), atol=1e-5)


def test_a_checkpoint_names_its_parent(variant, moments, requests, templates, tmp_path):
    lm, _, state = fresh(variant, moments)
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    digest = checkpoints.save(tmp_path / "a.h5", state, identity(variant), requests)
    _, _, child = fresh(variant, moments)
    checkpoints.load(tmp_path / "a.h5", child, identity(variant), requests)
    checkpoints.save(tmp_path / "b.h5", child, identity(variant), requests)
    assert hdf5.read(tmp_path / "a.h5", "checkpoint").attributes["parent"] == ""
    assert hdf5.read(tmp_path / "b.h5", "checkpoint").attributes["parent"] == digest


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"model": "another"}, "model"),
        ({"moments": "another"}, "moments"),
        ({"templates": "another"}, "templates"),
        ({"seed": 1}, "seed"),
        ({"batch": 3}, "batch"),
    ],
)
def test_a_foreign_checkpoint_is_refused(changed, what, moments, requests, templates, tmp_path):
    variant = parse("memit", steps=2)
    lm, _, state = fresh(variant, moments)
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    checkpoints.save(tmp_path / "a.h5", state, identity(variant), requests)
    _, _, other = fresh(variant, moments)
    with pytest.raises(StoreError, match=rf"a\.h5: made with another {what}"):
        checkpoints.load(tmp_path / "a.h5", other, identity(variant, **changed), requests)
    with pytest.raises(StoreError, match=r"made with another requests"):
        checkpoints.load(tmp_path / "a.h5", other, identity(variant), requests[::-1])
    changed_variant = parse("memit", steps=2, learning_rate=0.3)
    with pytest.raises(StoreError, match=r"made with another variant .*learning_rate"):
        checkpoints.load(tmp_path / "a.h5", other, identity(changed_variant), requests)


def test_a_checkpoint_with_other_arrays_is_refused(moments, requests, templates, tmp_path):
    variant = parse("memit", steps=2)
    lm, _, state = fresh(variant, moments)
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    checkpoints.save(tmp_path / "a.h5", state, identity(variant), requests)
    made = hdf5.read(tmp_path / "a.h5", "checkpoint")
    renamed = {name.replace("/weight", "/matrix"): array for name, array in made.arrays.items()}
    hdf5.write(tmp_path / "a.h5", "checkpoint", renamed, made.attributes)
    _, _, other = fresh(variant, moments)
    with pytest.raises(StoreError, match="holds matrix for layer 1, expected weight: written by"):
        checkpoints.load(tmp_path / "a.h5", other, identity(variant), requests)


def test_undo_of_a_checkpoint_gives_back_the_unedited_weight(
    moments, requests, templates, tmp_path
):
    for name in ("mose", "mose-output", "mose-input", "mose-input-product", "oft"):
        variant = parse(name, steps=4)
        lm, weights, state = fresh(variant, moments)
        sequence.run(lm, state, variant, requests, templates, 2, 6)
        checkpoints.save(tmp_path / f"{name}.h5", state, identity(variant), requests)
        _, _, restored = fresh(variant, moments)
        checkpoints.load(tmp_path / f"{name}.h5", restored, identity(variant), requests)
        for layer, editor in restored.editors.items():
            assert not torch.allclose(editor.weight.float(), weights[layer], atol=1e-3)
            undone = editor.undo().float()
            assert torch.allclose(undone, weights[layer], rtol=1e-6, atol=1e-6)


def test_attained_is_the_projection_on_what_was_asked():
    wanted = torch.tensor([[3.0, 0.0], [4.0, 2.0]], dtype=torch.float64)
    change = torch.tensor([[3.0, 5.0], [4.0, 1.0]], dtype=torch.float64)
    assert spreading.attained_fraction(change, wanted).tolist() == [1.0, 0.5]
    zero = torch.zeros(2, 1, dtype=torch.float64)
    assert spreading.attained_fraction(zero, zero).tolist() == [0.0]


def test_attained_of_one_layer_is_what_a_pass_through_the_model_sees(moments, requests, templates):
    """(W' - W) k by algebra against the change of the block's output in the model itself."""
    variant = parse("mose-output")
    lm, weights, state = fresh(variant, moments)
    before = keys.collect(lm, requests, templates, [1])
    found = writing.write_batch(lm, state.editors, variant, requests, templates)
    after = keys.collect(lm, requests, templates, [1])
    seen = after.mean_hidden() - before.mean_hidden()
    algebra = (lm.weight(1) - weights[1]).double() @ before.keys[1]
    assert torch.allclose(seen, algebra, atol=1e-4)
    assert len(found) == len(requests)


@pytest.mark.parametrize(
    ("mean", "weights"), [("half", [1 / 2, 1 / 4, 1 / 4]), ("uniform", [1 / 3, 1 / 3, 1 / 3])]
)
def test_means_weigh_the_bare_prompt_by_half_or_as_any_other(
    mean, weights, llama, requests, templates
):
    together = keys.collect(llama, requests[:2], templates, [1, 2], 20, mean)
    alone = [keys.collect(llama, requests[:2], [t], [1, 2]) for t in templates]
    for layer in (1, 2):
        expected = sum(w * k.keys[layer] for w, k in zip(weights, alone, strict=True))
        assert torch.allclose(together.keys[layer], expected, atol=1e-5)
    assert torch.allclose(together.prompt_hidden, alone[0].prompt_hidden, atol=1e-4)
    expected = sum(w * k.prompt_hidden for w, k in zip(weights, alone, strict=True))
    assert torch.allclose(together.mean_hidden(), expected, atol=1e-4)


def test_an_unknown_mean_is_refused(llama, requests, templates):
    with pytest.raises(ValueError, match="found 'median', expected half or uniform"):
        keys.collect(llama, requests, templates, [1], template_mean="median")


@pytest.mark.parametrize(("anchor", "written"), [(40.0, True), (0.01, False)])
def test_anchored_targets_are_written_unless_they_are_too_long(
    anchor, written, moments, requests, templates
):
    variant = parse("alphaedit", targets="anchored", anchor=anchor)
    lm, weights, state = fresh(variant, moments)
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    for diagnosis in state.diagnoses:
        assert (0.5 < diagnosis.attained < 1.5) if written else (diagnosis.attained == 0)
    for layer, before in weights.items():
        moved = torch.linalg.matrix_norm(lm.weight(layer) - before)
        assert (moved > 0.1) if written else (moved < 1e-6)


def test_every_method_is_run():
    run = {entry["method"] for entry in VARIANTS.values()}
    assert run == set(METHODS) - {UNEDITED["method"]}


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "gptj", "gemma3"])
def test_every_method_edits_checkpoints_resumes_and_restores_other_architectures(
    kind, variant, requests, templates, tmp_path
):
    edit_checkpoint_resume_restore(kind, variant, requests, templates, tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in tiny.KINDS if kind not in ("llama", "gemma3")])
@pytest.mark.parametrize("name", ["memit", "mose-input"])
def test_every_architecture_is_edited_checkpointed_resumed_and_restored(
    kind, name, requests, templates, tmp_path
):
    edit_checkpoint_resume_restore(kind, parse(name), requests, templates, tmp_path)


def edit_checkpoint_resume_restore(kind, variant, requests, templates, tmp_path):
    # Some neurons of the tiny OPT never fire.
    moments = dict.fromkeys((1, 2), second_moment.identity(48))
    moments = moments if kind == "opt" else second_moments_of(kind)
    if (kind, variant.method) == ("gpt2", "isospectral"):
        # The change of its base is ten times this weight, and its nearest rotation far from it.
        variant = parse("isospectral", clamp=0.01)
    known = identity(variant, model=f"tiny-{kind}-0")
    lm, weights, state = fresh(variant, moments, kind)
    before = mean_logprob(lm, requests[:4])
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    checkpoints.save(tmp_path / "edits2.h5", state, known, requests)
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    # In the others the subject has too little part in the random stream for probabilities to rise.
    assert kind in tiny.POST_NORM or mean_logprob(lm, requests[:4]) > before
    assert all(d.attained is None or d.attained > 0.2 for d in state.diagnoses)

    again, _, resumed = fresh(variant, moments, kind)
    checkpoints.load(tmp_path / "edits2.h5", resumed, known, requests)
    sequence.put_into(again, resumed)
    sequence.run(again, resumed, variant, requests, templates, 2, 4)
    for layer, unedited in weights.items():
        assert torch.allclose(again.weight(layer), lm.weight(layer), atol=1e-5)
        assert not torch.allclose(again.weight(layer), unedited, atol=1e-4)
        again.write(layer, unedited)
    assert mean_logprob(again, requests[:4]) == pytest.approx(before, abs=1e-6)
    with pytest.raises(StoreError, match="made with another model"):
        checkpoints.load(tmp_path / "edits2.h5", resumed, identity(variant), requests)


def test_the_input_side_edits_a_model_kept_in_bfloat16(moments, requests, templates):
    variant = parse("mose-input")
    lm, _, _ = fresh(variant, moments)
    lm.model.to(torch.bfloat16)
    state = sequence.State(sequence.make_editors({1: lm.weight(1)}, moments, variant))
    before = mean_logprob(lm, requests)
    sequence.run(lm, state, variant, requests, templates, 2, len(requests))
    assert lm.weight(1).dtype == torch.bfloat16
    assert mean_logprob(lm, requests) > before
