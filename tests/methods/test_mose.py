"""Rotations: what they keep, what they solve, and how they remember."""

import pytest
import torch
from small_layer import D_IN, ROTATIONS, batch, draw, make

from mose.linalg.orthogonal import on_sphere, orthogonality_error


@pytest.mark.parametrize("name", ROTATIONS)
def test_rotations_keep_norm_spectrum_and_condition_number(name, weight, moment):
    editor, options = make(name, weight, moment)
    before = torch.linalg.svdvals(weight.to(torch.float64))
    for seed in range(10):
        editor.update(*batch(editor, options, seed=seed))
    after = torch.linalg.svdvals(editor.weight)
    moved = editor.weight - weight
    assert torch.linalg.matrix_norm(moved) > 0.1 * torch.linalg.matrix_norm(weight.double())
    assert torch.allclose(after, before, rtol=1e-12)
    assert float(after[0] / after[-1]) == pytest.approx(float(before[0] / before[-1]), rel=1e-12)
    assert torch.linalg.matrix_norm(editor.weight) == pytest.approx(
        float(torch.linalg.matrix_norm(weight.double())), rel=1e-13
    )
    found = editor.rotations
    for factor in (found.output, found.input):
        assert factor is None or orthogonality_error(factor) < 1e-12
    assert torch.allclose(found.product, editor.weight, atol=1e-12)


@pytest.mark.parametrize("name", ROTATIONS)
def test_undo_gives_the_unedited_weight_to_float32_rounding(name, weight, moment):
    editor, options = make(name, weight, moment)
    for seed in range(3):
        editor.update(*batch(editor, options, seed=seed))
    assert not torch.allclose(editor.weight.float(), weight, atol=1e-2)
    assert torch.allclose(editor.undo().float(), weight, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ROTATIONS)
def test_infinite_retention_changes_nothing_and_zero_residual_neither(name, weight, moment):
    editor, options = make(name, weight, moment, retention=1e9)
    editor.update(*batch(editor, options))
    assert torch.allclose(editor.weight, weight.double(), atol=1e-6)
    editor, options = make(name, weight, moment)
    keys, residuals = batch(editor, options)
    editor.update(keys, torch.zeros_like(residuals))
    assert torch.allclose(editor.weight, weight.double(), atol=1e-12)


def test_published_mose_is_the_procrustes_solution_of_the_stacked_problem(weight, moment):
    import scipy.linalg

    editor, options = make("output-free", weight, moment)
    keys, residuals = batch(editor, options)
    base = weight.double()
    # lambda E||R W k - W k||^2 over columns W C^1/2.
    root = torch.linalg.cholesky(0.5 * moment.matrix)
    kept, values = base @ root, base @ keys
    right, _ = scipy.linalg.orthogonal_procrustes(
        torch.cat([kept, values], 1).mT.numpy(), torch.cat([kept, values + residuals], 1).mT.numpy()
    )
    editor.update(keys, residuals)
    assert torch.allclose(editor.weight, torch.from_numpy(right).mT @ base, atol=1e-10)


def test_input_rotation_is_the_procrustes_solution_of_the_stacked_problem(weight, moment):
    import scipy.linalg

    editor, options = make("input", weight, moment)
    keys, residuals = batch(editor, options)
    root = torch.linalg.cholesky(0.5 * moment.matrix)
    right, _ = scipy.linalg.orthogonal_procrustes(
        torch.cat([root, keys], 1).mT.numpy(), torch.cat([root, keys + residuals], 1).mT.numpy()
    )
    editor.update(keys, residuals)
    assert torch.allclose(editor.weight, weight.double() @ torch.from_numpy(right).mT, atol=1e-10)


def test_the_retained_matrix_follows_the_edits(weight, moment):
    """S <- R S R^T is what recomputing lambda W C W^T from the edited weight gives."""
    editor, options = make("output-free", weight, moment)
    editor.update(*batch(editor, options))
    rotated = editor.rotation @ (weight.double() @ moment.matrix @ weight.double().mT)
    rotated = rotated @ editor.rotation.mT
    recomputed = editor.weight @ moment.matrix @ editor.weight.mT
    assert torch.allclose(rotated, recomputed, rtol=1e-11)
    # And the second update uses it: an editor that starts from the edited weight agrees.
    fresh, _ = make("output-free", editor.weight, moment)
    following = batch(editor, options, seed=9)
    editor.update(*following)
    fresh.update(*following)
    assert torch.allclose(editor.weight, fresh.weight, atol=1e-11)


@pytest.mark.parametrize("name", ["output-reachable-accumulate", "input-accumulate"])
def test_accumulated_memory_in_ten_batches_is_one_batch_of_all(name, weight, moment):
    together, options = make(name, weight, moment)
    portions, _ = make(name, weight, moment)
    keys = draw(D_IN, 10, seed=3)
    rotate = options.side == "input"
    base = keys if rotate else weight.double() @ keys
    wanted = on_sphere(base.mT, draw(10, len(base), seed=4)).mT
    together.update(keys, wanted - base)
    for i in range(10):
        key, target = keys[:, i : i + 1], wanted[:, i : i + 1]
        # The same fixed target, said from the present state.
        now = key if rotate else portions.weight @ key
        seen = portions.rotation.mT @ target if rotate else target
        portions.update(key, seen - now)
    assert torch.allclose(together.weight, portions.weight, atol=1e-11)
