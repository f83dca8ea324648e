"""Rotations of both sides as an editor: memory, order, and what each solver gives."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make

from mose.errors import NumericalError
from mose.methods.memit import memit_delta
from mose.methods.two_sided import TwoSidedRotation

BOTH = ["both", "both-accumulate", "both-nearest", "both-protect"]


def written(editor, keys, values, order, size):
    """Write fixed values, in batches of the given size and order."""
    for start in range(0, len(order), size):
        members = order[start : start + size]
        key = keys[:, members]
        editor.update(key, values[:, members] - editor.weight @ key)
    return editor.weight


def objective(weight, base, moment, keys, values, lam):
    moved, missing = weight - base, weight @ keys - values
    return float(lam * ((moved @ moment.matrix) * moved).sum() + (missing**2).sum())


@pytest.mark.parametrize("solver", ["nearest", "weighted"])
def test_with_memory_neither_order_nor_batches_matter(solver, weight, moment):
    keys, values = draw(D_IN, 12, seed=3), draw(D_OUT, 12, seed=4)
    results = []
    for order, size in ((list(range(12)), 12), (list(range(12)), 5), (list(range(11, -1, -1)), 1)):
        editor, _ = make("both-accumulate", weight, moment, solver=solver)
        results.append(written(editor, keys, values, order, size))
    for other in results[1:]:
        assert torch.allclose(other, results[0], atol=1e-8)


@pytest.mark.parametrize("size", [0.1, 1, 10, 100])
@pytest.mark.parametrize("seed", range(3))
def test_weighted_is_never_worse_than_nearest_nor_than_one_side(seed, size, weight, moment):
    """Edits much larger than the weight included, where the nearest point misleads."""
    keys = draw(D_IN, 6, seed=seed)
    values = weight.double() @ keys + size * draw(D_OUT, 6, seed=seed + 50)
    left = {}
    for name, changed in {
        "weighted": {"side": "both"},
        "nearest": {"side": "both", "solver": "nearest"},
        "one": {},
    }.items():
        editor, _ = make("output-free-accumulate", weight, moment, **changed)
        editor.update(keys, values - weight.double() @ keys)
        left[name] = objective(editor.weight, weight.double(), moment, keys, values, 0.5)
    assert left["weighted"] <= left["nearest"] * (1 + 1e-12)
    assert left["weighted"] <= left["one"] * (1 + 1e-12)


def test_small_edits_are_memits_to_first_order(weight, moment):
    """What the condition on the spectrum takes away is min(d_out, d_in) of d_out d_in numbers."""
    keys = draw(D_IN, 4, seed=3)
    residuals = 1e-3 * draw(D_OUT, 4, seed=4)
    editor, _ = make("both", weight, moment)
    editor.update(keys, residuals)
    delta = memit_delta(keys, residuals, moment, 0.5)
    u, _, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    normal = torch.einsum("ij,ik,jk->k", delta, u, vh.mT)
    moved = editor.weight - weight.double()
    missed = torch.linalg.matrix_norm(moved - delta)
    assert missed < 3 * torch.linalg.vector_norm(normal)
    # The condition itself: no singular value changes to first order.
    assert torch.einsum("ij,ik,jk->k", moved, u, vh.mT).abs().max() < 1e-2 * normal.abs().max()


@pytest.mark.parametrize("name", BOTH)
def test_a_tighter_tolerance_only_lowers_the_objective(name, weight, moment):
    loose, options = make(name, weight, moment)
    keys, residuals = draw(D_IN, 6, seed=3), 2 * draw(D_OUT, 6, seed=4)
    loose.update(keys, residuals)
    tight = TwoSidedRotation(weight, moment, options, tolerance=0.0)
    tight.update(keys, residuals)
    base = weight.double()
    values = base @ keys + residuals
    first, second = (objective(e.weight, base, moment, keys, values, 0.5) for e in (loose, tight))
    assert second <= first
    assert second > (1 - 0.02) * first


@pytest.mark.parametrize("solver", ["nearest", "weighted"])
def test_protected_directions_stay_and_the_rest_moves(solver, weight, moment):
    """Exactly, for edits as large as the weight: W v_i = s_i u_i and W^T u_i = s_i v_i."""
    editor, _ = make("both-protect", weight, moment, solver=solver)
    editor.update(draw(D_IN, 6, seed=3), 3 * draw(D_OUT, 6, seed=4))
    base = weight.double()
    u, s, vh = torch.linalg.svd(base, full_matrices=False)
    shares = s.square().cumsum(0) / s.square().sum()
    count = 1 + int((shares < 0.2).sum())
    assert shares[count - 1] >= 0.2
    assert 0 < count < len(s)
    leading, scaled = vh[:count].mT, u[:, :count] * s[:count]
    assert torch.allclose(editor.weight @ leading, scaled, atol=1e-12)
    back = editor.weight.mT @ u[:, :count]
    assert torch.allclose(back, leading * s[:count], atol=1e-12)
    assert torch.allclose(torch.linalg.svdvals(editor.weight), s, rtol=1e-12)
    moved = (editor.weight - base) @ vh[count:].mT
    assert torch.linalg.matrix_norm(moved) > 0.1 * torch.linalg.matrix_norm(base)


def test_a_protected_solution_is_the_best_that_keeps_them(weight, moment):
    """No rotation of the other directions lowers the objective: its gradient there is zero."""
    keys, wanted = draw(D_IN, 6, seed=3), draw(D_OUT, 6, seed=4)
    _, options = make("both-protect", weight, moment)
    tight = TwoSidedRotation(weight, moment, options, tolerance=0.0)
    tight.update(keys, wanted)
    base = weight.double()
    u, s, vh = torch.linalg.svd(base)
    count = 1 + int((s.square().cumsum(0) / s.square().sum() < options.protect).sum())
    values = base @ keys + wanted
    rest = [u[:, count:].contiguous(), vh[count:].mT.contiguous()]
    core = rest[0].mT @ tight.weight @ rest[1]
    generators = [torch.zeros(n, n, dtype=torch.float64, requires_grad=True) for n in core.shape]
    left, right = (torch.linalg.matrix_exp(g - g.mT) for g in generators)
    fixed = (u[:, :count] * s[:count]) @ vh[:count]
    turned = fixed + rest[0] @ left @ core @ right @ rest[1].mT
    moved, missing = turned - base, turned @ keys - values
    loss = 0.5 * ((moved @ moment.matrix) * moved).sum() + missing.square().sum()
    gradients = torch.autograd.grad(loss, generators)
    assert max(g.abs().max().item() for g in gradients) < 1e-3 * loss.item()


@pytest.mark.parametrize("solver", ["nearest", "weighted"])
def test_protecting_all_directions_is_refused(solver, weight, moment):
    editor, _ = make("both-protect", weight, moment, solver=solver, protect=1 - 1e-12)
    with pytest.raises(NumericalError, match=r"protect .* none is left to edit; lower it"):
        editor.update(draw(D_IN, 1, seed=3), draw(D_OUT, 1, seed=4))
