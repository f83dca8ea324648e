"""ENCORE's objective, solved whole."""

import torch
from small_layer import D_IN, D_OUT, draw, make


def test_it_is_the_large_solve_with_a_raised_diagonal_and_earlier_keys(weight, moment):
    editor, _ = make("encore", weight, moment, retention=0.5)
    early, late = draw(D_IN, 3, seed=1), draw(D_IN, 3, seed=2)
    editor.update(early, draw(D_OUT, 3, seed=3))
    before, residuals = editor.weight.double(), draw(D_OUT, 3, seed=4)
    editor.update(late, residuals)
    system = 0.5 * moment.matrix + torch.eye(D_IN, dtype=torch.float64)
    system += early @ early.mT + late @ late.mT
    expected = before + residuals @ torch.linalg.solve(system, late).mT
    assert torch.allclose(editor.weight.double(), expected, atol=1e-6)
