"""EvoEdit with its projector formed, and what later edits leave alone."""

import torch
from small_layer import D_IN, D_OUT, draw, make

EYE = torch.eye(D_IN, dtype=torch.float64)


def test_batches_are_its_formula_with_the_projector_formed(weight, moment):
    editor, _ = make("evoedit", weight, moment, tolerance=0.55)
    values, vectors = torch.linalg.eigh(moment.matrix)
    null = vectors[:, values < 0.3]
    p, present, ranks = null @ null.mT, weight.double(), []
    for seed in range(4):
        keys, residuals = draw(D_IN, 4, seed=seed), draw(D_OUT, 4, seed=seed + 9)
        inner = keys.mT @ p @ keys + 0.1 * torch.eye(4, dtype=torch.float64)
        present = present + residuals @ torch.linalg.inv(inner) @ keys.mT @ p
        u, s, _ = torch.linalg.svd(p @ keys)
        q = u[:, :4][:, s > 0.55 * torch.linalg.svdvals(keys)[0]]
        p = p - q @ q.mT
        ranks.append(q.shape[1])
        editor.update(keys, residuals)
        moved = torch.dist(present, weight.double())
        assert torch.dist(editor.weight.double(), present) < 1e-5 * moved
        assert torch.allclose(editor.project(EYE), p, atol=1e-9)
    assert 0 < min(ranks) < 4, "the tolerance should have left some directions in"


def test_later_edits_do_not_move_earlier_values_until_nothing_is_left_to_write_in(weight, moment):
    editor, _ = make("evoedit", weight, moment)
    keys = draw(D_IN, 2, seed=7)
    editor.update(keys, draw(D_OUT, 2, seed=8))
    values = editor.weight.double() @ keys
    for seed in range(2 * D_IN):
        before = editor.weight
        editor.update(draw(D_IN, 2, seed=seed + 100), draw(D_OUT, 2, seed=seed + 300))
    assert torch.allclose(editor.weight.double() @ keys, values, atol=1e-4)
    assert torch.equal(before, editor.weight)
    taken = editor.state()["taken"]
    rank = D_IN - editor._protected.shape[1]
    assert taken.shape == (rank, D_IN)
    assert torch.allclose(taken @ taken.mT, torch.eye(rank, dtype=torch.float64), atol=1e-9)
