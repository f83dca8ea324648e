"""MEMIT against the solve it replaces, and its memory against one solution for all."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make

from mose.methods.memit import memit_delta


def test_memit_has_no_undo(weight, moment):
    with pytest.raises(NotImplementedError):
        make("memit", weight, moment)[0].undo()


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
