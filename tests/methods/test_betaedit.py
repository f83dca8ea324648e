"""BetaEdit against its authors' large solve, with a null space that is determined again."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make

EYE = torch.eye(D_IN, dtype=torch.float64)


def projector(matrix, threshold):
    values, vectors = torch.linalg.eigh(matrix)
    null = vectors[:, values < threshold]
    return null @ null.mT


@pytest.mark.parametrize("resumed", [False, True])
def test_batches_are_the_authors_large_solves(resumed, weight, moment):
    options = {"retention": 0.4, "ridge": 0.2, "null_threshold": 0.3, "refresh": 4}
    editor, _ = make("betaedit", weight, moment, **options)
    present, cache = weight.double(), torch.zeros(D_IN, D_IN, dtype=torch.float64)
    p, ranks = projector(moment.matrix, 0.3), []
    last = written = 0
    for number in range(5):
        keys, residuals = 2 * draw(D_IN, 3, seed=number), draw(D_OUT, 3, seed=50 + number)
        if written - last >= 4:
            p = projector((cache / written + 0.4 * moment.matrix) / 1.4, 0.3)
            last = written
        ranks.append(round(float(p.trace())))
        system = p @ (keys @ keys.mT + cache + 0.4 * moment.matrix) + 0.2 * EYE
        present = present + torch.linalg.solve(system, p @ keys @ residuals.mT).mT
        cache, written = cache + keys @ keys.mT, written + 3
        if resumed:
            state = editor.state()
            editor, _ = make("betaedit", weight, moment, **options)
            editor.load(state)
        editor.update(keys, residuals)
        moved = torch.dist(present, weight.double())
        assert torch.dist(editor.weight.double(), present) < 1e-5 * moved
    assert ranks[0] == ranks[1] != ranks[2] == ranks[3] != ranks[4]


def test_without_old_keys_in_the_objective_it_is_alphaedit(weight, moment):
    beta, _ = make("betaedit", weight, moment, retention=1e-12, refresh=100)
    alpha, _ = make("alphaedit", weight, moment)
    for seed in (1, 2):
        keys, residuals = draw(D_IN, 4, seed=seed), draw(D_OUT, 4, seed=seed + 9)
        for editor in (beta, alpha):
            editor.update(keys, residuals)
    assert torch.allclose(beta.weight, alpha.weight, rtol=1e-5, atol=1e-6)
