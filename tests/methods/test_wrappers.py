"""RECT, PRUNE and SPHERE: what they change of what a base method does."""

import math

import pytest
import torch
from plain import D_IN, D_OUT, batch, draw, make

from mose.errors import ConfigError
from mose.methods.options import parse_variant
from mose.methods.prune import reduce_spectrum
from mose.methods.rect import keep_largest
from mose.methods.sphere import main_directions


def test_rect_keeps_the_share_that_changes_most_relatively():
    weight, delta = draw(6, 9, seed=1), draw(6, 9, seed=2)
    kept = keep_largest(delta, weight, 0.3)
    count = math.ceil(0.3 * 54)
    assert (kept != 0).sum() == count
    relative = (delta / weight).abs().flatten()
    assert set((kept.flatten() != 0).nonzero().flatten().tolist()) == set(
        relative.argsort(descending=True)[:count].tolist()
    )
    assert torch.equal(kept[kept != 0], delta[kept != 0])
    assert torch.equal(keep_largest(delta, weight, 1.0), delta)


def test_rect_masks_the_whole_change_of_a_batch_once_and_only_when_it_is_finished(weight, moment):
    rect, options = make("rect", weight, moment, kept_share=0.2)
    memit, _ = make("memit", weight, moment)
    for seed in (1, 2):
        keys, residuals = batch(memit, options, seed=seed)
        before = rect.weight.double()
        reference, _ = make("memit", rect.weight, moment)
        reference.update(keys, residuals)
        rect.update(keys, residuals)
        assert torch.equal(rect.weight, reference.weight)
        rect.finish()
        expected = before + keep_largest(reference.weight.double() - before, before, 0.2)
        assert torch.allclose(rect.weight.double(), expected, atol=1e-7)
        assert (rect.weight.double() - before != 0).sum() <= math.ceil(0.2 * D_OUT * D_IN)


def test_prune_reduces_only_what_is_larger_than_the_unedited_spectral_norm():
    change = draw(D_OUT, D_IN) * torch.logspace(1, -1, D_OUT, dtype=torch.float64)[:, None]
    s = torch.linalg.svdvals(change)
    largest = float(s[4])
    for base in (math.e, 1.2):
        reduced = torch.linalg.svdvals(reduce_spectrum(change, largest, base))
        assert torch.allclose(reduced[5:], s[5:], rtol=1e-10)
        expected = largest + torch.log(s[:4] / largest) / math.log(base)
        assert torch.allclose(reduced[:4], expected, rtol=1e-10)
    assert torch.allclose(reduce_spectrum(change, float(s[0]) + 1, 2.0), change, atol=1e-12)


def test_prune_is_seen_only_when_measured(weight, moment):
    prune, options = make("prune", weight, moment, retention=1e-3)
    memit, _ = make("memit", weight, moment, retention=1e-3)
    for seed in range(4):
        keys, residuals = batch(memit, options, seed=seed)
        for editor in (prune, memit):
            editor.update(keys, 40 * residuals)
            editor.finish()
    assert torch.equal(prune.weight, memit.weight)
    largest = float(torch.linalg.matrix_norm(weight.double(), 2))
    change = memit.weight.double() - weight.double()
    assert torch.linalg.matrix_norm(change, 2) > largest
    expected = weight.double() + reduce_spectrum(change, largest, math.e)
    assert torch.allclose(prune.measured, expected, atol=1e-9)
    assert torch.equal(memit.measured, memit.weight)


def test_sphere_takes_the_update_out_of_the_main_directions_of_the_present_weight(weight, moment):
    rows = weight.double() / weight.double().norm(dim=1, keepdim=True)
    _, s, vh = torch.linalg.svd(rows)
    count = int((s.square().cumsum(0) / s.square().sum() < 0.5).sum()) + 1
    main = main_directions(weight, 0.5)
    assert torch.allclose(main @ main.mT, vh[:count].mT @ vh[:count], atol=1e-10)
    sphere, options = make("sphere", weight, moment, strength=1.0)
    memit, _ = make("memit", weight, moment)
    keys, residuals = batch(memit, options)
    memit.update(keys, residuals)
    sphere.update(keys, residuals)
    change = sphere.weight.double() - weight.double()
    assert (change @ main).abs().max() < 1e-6
    whole = memit.weight.double() - weight.double()
    assert torch.allclose(change, whole - whole @ main @ main.mT, atol=1e-6)


def test_only_additive_closed_forms_can_be_wrapped():
    entry = {"method": "sphere", "base": "mose", "layers": [3], "lambda": 1.0, "learning_rate": 0.1}
    with pytest.raises(ConfigError, match="mose is not a closed-form additive method"):
        parse_variant(entry)
    with pytest.raises(ConfigError, match="unknown key 'ridge' for method memit"):
        parse_variant({**entry, "base": "memit", "ridge": 1.0})
