"""Update rules against independent formulas, on plain tensors."""

import pytest
import torch

from mose.linalg import on_sphere, orthogonality_error
from mose.methods import EDITORS
from mose.methods.memit import memit_delta
from mose.moments import SecondMoment
from mose.options import parse_variant

D_OUT, D_IN = 20, 32

VARIANTS = {
    "memit": {"method": "memit"},
    "memit-keys": {"method": "memit", "memory": "keys"},
    "output-free": {"method": "mose"},
    "output-free-accumulate": {"method": "mose", "memory": "accumulate"},
    "output-reachable": {"method": "mose", "targets": "reachable"},
    "output-reachable-accumulate": {
        "method": "mose",
        "targets": "reachable",
        "memory": "accumulate",
    },
    "input": {"method": "mose", "side": "input", "targets": "reachable"},
    "input-accumulate": {
        "method": "mose",
        "side": "input",
        "targets": "reachable",
        "memory": "accumulate",
    },
}
ROTATIONS = [name for name in VARIANTS if not name.startswith("memit")]


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def weight():
    return draw(D_OUT, D_IN, seed=1).to(torch.float32)


@pytest.fixture
def moment():
    keys = draw(D_IN, 200, seed=2) * torch.logspace(0, -1, D_IN, dtype=torch.float64)[:, None]
    return SecondMoment(keys @ keys.mT / 200)


def make(name, weight, moment, retention=0.5):
    entry = {**VARIANTS[name], "layers": [3], "lambda": retention, "learning_rate": 0.1}
    variant = parse_variant(entry)
    return EDITORS[variant.method](weight, moment, variant.options), variant.options


def batch(editor, options, n=4, seed=5):
    """Keys, and residuals of the kind the variant's targets give."""
    keys, shift = draw(D_IN, n, seed=seed), draw(max(D_IN, D_OUT), n, seed=seed + 100)
    if options.target_space == "free":
        return keys, shift[:D_OUT]
    base = editor.weight.to(torch.float64) @ keys if options.target_space == "value" else keys
    return keys, on_sphere(base.mT, shift[: len(base)].mT).mT - base


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
    assert orthogonality_error(editor.rotation) < 1e-12


@pytest.mark.parametrize("name", ROTATIONS)
def test_undo_gives_the_unedited_weight_to_float32_rounding(name, weight, moment):
    editor, options = make(name, weight, moment)
    for seed in range(3):
        editor.update(*batch(editor, options, seed=seed))
    assert not torch.allclose(editor.weight.float(), weight, atol=1e-2)
    assert torch.allclose(editor.undo().float(), weight, rtol=1e-6, atol=1e-6)


def test_memit_has_no_undo(weight, moment):
    with pytest.raises(NotImplementedError):
        make("memit", weight, moment)[0].undo()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_restored_editor_goes_on_to_the_same_numbers(name, weight, moment):
    first, options = make(name, weight, moment)
    first.update(*batch(first, options, seed=1))
    second, _ = make(name, weight, moment)
    second.load({key: value.clone() for key, value in first.state().items()})
    assert torch.allclose(second.weight, first.weight, rtol=0, atol=1e-12)
    following = batch(first, options, seed=2)
    first.update(*following)
    second.update(*following)
    assert torch.allclose(second.weight, first.weight, rtol=0, atol=1e-12)


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


def test_memit_by_small_solves_is_the_large_solve(moment):
    keys, residuals = draw(D_IN, 6), draw(D_OUT, 6, seed=1)
    for retention in (0.1, 1.0, 100.0):
        small = memit_delta(keys, residuals, moment, retention)
        large = residuals @ keys.mT @ torch.linalg.inv(retention * moment.matrix + keys @ keys.mT)
        assert torch.allclose(small, large, rtol=1e-9, atol=1e-12)


def test_sequential_memit_with_memory_is_the_one_shot_solution(weight, moment):
    keys, targets = draw(D_IN, 8, seed=3), draw(D_OUT, 8, seed=4)
    together, _ = make("memit-keys", weight, moment)
    portions, _ = make("memit-keys", weight, moment)
    forgetful, _ = make("memit", weight, moment)
    together.update(keys, targets - weight.double() @ keys)
    for part in torch.arange(8).split(2):
        for editor in (portions, forgetful):
            residuals = targets[:, part] - editor.weight.double() @ keys[:, part]
            editor.update(keys[:, part], residuals)
    # Recursive least squares: equal but for the float32 rounding of the stored weight.
    assert torch.allclose(portions.weight, together.weight, atol=2e-6)
    assert not torch.allclose(forgetful.weight, together.weight, atol=1e-2)


def test_memory_keeps_earlier_keys_where_they_are(weight, moment):
    remembering, _ = make("memit-keys", weight, moment, retention=1e-6)
    early, late = draw(D_IN, 3, seed=1), draw(D_IN, 3, seed=2)
    remembering.update(early, draw(D_OUT, 3, seed=3))
    values = remembering.weight.double() @ early
    remembering.update(late, draw(D_OUT, 3, seed=4))
    assert torch.allclose(remembering.weight.double() @ early, values, atol=1e-3)
