"""LyapLock in its authors' terms, with their queue Z and their large solve."""

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make


def test_batches_are_the_authors_solves_with_their_queue(weight, moment):
    lam, alpha = 0.4, 1.5
    editor, _ = make("lyaplock", weight, moment, retention=lam, allowance=alpha)
    unedited, present, c = weight.double(), weight.double(), moment.matrix
    v0k0 = unedited @ c
    vpkp, kpkp = torch.zeros_like(v0k0), torch.zeros_like(c)
    z = z_max = a = base = None
    weights = []
    for number in range(6):
        keys, residuals = draw(D_IN, 3, seed=number), 2 * draw(D_OUT, 3, seed=50 + number)
        factor = 1.0 if base is None else a * z
        weights.append(factor)
        left = residuals @ keys.mT + factor * lam * (v0k0 - present @ c)
        left = left + vpkp - present @ kpkp
        system = keys @ keys.mT + factor * lam * c + kpkp
        present = present + left @ torch.linalg.inv(system)
        lost = float(((present - unedited) @ c @ (present - unedited).mT).trace())
        if base is None:
            base = lost
            a, z, z_max = (alpha * base) ** -0.5, (alpha * base) ** 0.5, (alpha * base) ** 0.5
        z = max(z + a * (lost - alpha * base), z_max)
        vpkp, kpkp = vpkp + present @ keys @ keys.mT, kpkp + keys @ keys.mT

        state = editor.state()
        editor, _ = make("lyaplock", weight, moment, retention=lam, allowance=alpha)
        editor.load(state)
        editor.update(keys, residuals)
        moved = torch.dist(present, unedited)
        assert torch.dist(editor.weight.double(), present) < 1e-5 * moved
    assert weights[:2] == pytest.approx([1.0, 1.0])
    assert weights[-1] > 2, "the queue should have grown"


def test_while_little_is_lost_old_knowledge_weighs_as_at_first(weight, moment):
    editor, _ = make("lyaplock", weight, moment, allowance=60.0)
    for number in range(3):
        editor.update(draw(D_IN, 2, seed=number), draw(D_OUT, 2, seed=number + 9))
        assert float(editor.state()["queue"][0]) == 1.0
