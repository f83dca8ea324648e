"""REVIVE in the whole singular basis of the unedited weight."""

import torch
from small_layer import D_IN, D_OUT, batch, make


def test_no_component_of_any_batch_touches_a_dominant_direction(weight, moment):
    revive, options = make("revive", weight, moment, energy=0.4)
    memit, _ = make("memit", weight, moment)
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=True)
    energy = s.square() / s.square().sum()
    count = next(k for k in range(1, D_OUT + 1) if energy[:k].sum() >= 0.4)
    assert 1 < count < D_OUT
    for seed in range(2):
        before = revive.weight.double()
        memit.put(before)
        keys, residuals = batch(memit, options, seed=seed)
        for editor in (revive, memit):
            editor.update(keys, residuals)
        assert torch.equal(revive.weight, memit.weight)
        revive.finish()
        coordinates = u.mT @ (memit.weight.double() - before) @ vh.mT
        coordinates[:count] = 0
        coordinates[:, :count] = 0
        assert coordinates[:, D_OUT:].abs().max() > 0.01, "what the weight maps to zero is free"
        expected = before + u @ coordinates @ vh
        assert torch.allclose(revive.weight.double(), expected, atol=1e-6)
    assert vh.shape == (D_IN, D_IN)
