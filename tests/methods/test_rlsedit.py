"""RLSEdit (arXiv 2601.15686) is ENCORE's update: its recursion of the inverse, against the editor.

RLSEdit minimises lambda^2 ||W - W_0||^2 + mu^2 ||(W - W_0) K_0||^2 + sum ||W K_i - V_i||^2 and
carries the inverse of its system along by Woodbury's identity.
"""

import torch
from small_layer import D_IN, D_OUT, draw, make


def test_its_recursion_is_encore_with_squared_weights(weight, moment):
    to_unedited, to_old = 0.8, 1.3
    editor, _ = make(
        "encore", weight, moment, retention=to_old**2, norm_weight=to_unedited**2, patience=None
    )
    eye = torch.eye(D_IN, dtype=torch.float64)
    inverse = torch.linalg.inv(to_unedited**2 * eye + to_old**2 * moment.matrix)
    present = weight.double()
    for number, count in enumerate((3, 1, 5, 2)):
        keys, values = draw(D_IN, count, seed=number), draw(D_OUT, count, seed=60 + number)
        inner = torch.eye(count, dtype=torch.float64) + keys.mT @ inverse @ keys
        gain = inverse @ keys @ torch.linalg.inv(inner)
        present = present + (values - present @ keys) @ gain.mT
        inverse = inverse - gain @ keys.mT @ inverse
        editor.update(keys, values - editor.weight.double() @ keys)
        moved = torch.dist(present, weight.double())
        assert torch.dist(editor.weight.double(), present) < 1e-5 * moved
