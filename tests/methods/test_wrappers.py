"""RECT, PRUNE, SPHERE, isospectral: what they change of what a base method does."""

import math

import pytest
import tiny
import torch
from small_layer import CLOSED_FORM, D_IN, D_OUT, batch, draw, make

from mose.editing import sequence, targets, writing
from mose.errors import ConfigError, NumericalError
from mose.linalg.second_moment import SecondMoment
from mose.methods.editors import make_editor
from mose.methods.prune import reduce_spectrum
from mose.methods.rect import keep_largest
from mose.methods.register import parse_variant
from mose.methods.sphere import main_directions
from mose.statistics import keys as keys_of


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
    sphere.finish()
    change = sphere.weight.double() - weight.double()
    assert (change @ main).abs().max() < 1e-6
    whole = memit.weight.double() - weight.double()
    assert torch.allclose(change, whole - whole @ main @ main.mT, atol=1e-6)


@pytest.mark.parametrize("name", ["memit-keys", "alphaedit", "encore"])
def test_isospectral_is_the_nearest_matrix_of_the_unedited_spectrum(name, weight, moment):
    """From a base method that starts at the same weight: Mirsky's distance, by plain SVDs."""
    entry = CLOSED_FORM[name]
    changed = {**entry, "method": "isospectral", "base": entry["method"]}
    wrapped, options = make("isospectral", weight, moment, **changed)
    spectrum = torch.linalg.svdvals(weight.double())
    for seed in (1, 2, 3):
        alone, _ = make(name, weight, moment)
        alone.load(wrapped.state())
        following = batch(wrapped, options, seed=seed)
        alone.update(*following)
        wrapped.update(*following)
        left, values, right = torch.linalg.svd(alone.weight.double(), full_matrices=False)
        assert float((values - spectrum).abs().max()) > 0.01
        assert torch.allclose(wrapped.weight.double(), (left * spectrum) @ right, atol=1e-5)
        kept = torch.linalg.svdvals(wrapped.weight.double())
        assert torch.allclose(kept, spectrum, atol=1e-6 * float(spectrum[0]))


@pytest.mark.parametrize("base", ["memit", "alphaedit"])
def test_sphere_projects_once_all_layers_have_their_deltas_except_over_alphaedit(
    base, requests, templates
):
    """Against two batches written by hand: deltas of both layers, and where the projection is."""
    layers = [1, 2]
    own = {"memit": {"lambda": 0.05}, "alphaedit": {"ridge": 0.01, "null_threshold": 1.0}}[base]
    sphere = {"method": "sphere", "base": base, "strength": 0.8, "energy": 0.5}
    common = {"layers": layers, "learning_rate": 0.2, "steps": 4, "weight_decay": 0.0, **own}
    variant = parse_variant({**sphere, **common})
    plain = parse_variant({"method": base, **common})
    second_moments = {layer: second_moment(layer) for layer in layers}

    def projected(delta, weight):
        rows = weight / weight.norm(dim=1, keepdim=True)
        _, s, vh = torch.linalg.svd(rows, full_matrices=False)
        count = int((s.square().cumsum(0) / s.square().sum() < 0.5).sum()) + 1
        return delta - 0.8 * delta @ vh[:count].mT @ vh[:count]

    lm = tiny.model()
    weights = {layer: lm.weight(layer).double().clone() for layer in layers}
    written = []  # keys, per batch and layer, for the base's memory
    for members in (requests[:2], requests[2:4]):
        shift = targets.optimise(lm, members, templates, variant.edit).shift.mT
        wanted = keys_of.collect(lm, members, templates, layers).prompt_hidden + shift
        changes = {}
        for left, layer in ((2, 1), (1, 2)):
            seen = keys_of.collect(lm, members, templates, layers)
            editor = make_editor(weights[layer].float(), second_moments[layer], plain)
            if editor.remembers:
                state = {"weight": weights[layer].float()}
                earlier = [k[layer] for k in written] or [torch.empty(48, 0).double()]
                editor.load({**state, "keys": torch.cat(earlier, dim=1).mT})
            delta = editor.delta(
                seen.keys[layer], (wanted - seen.prompt_hidden) / left, seen.keys[layer]
            )
            changes[layer] = (seen.keys[layer], delta)
            inside = projected(delta, weights[layer]) if base == "alphaedit" else delta
            lm.write(layer, weights[layer] + inside)
        written.append({layer: key for layer, (key, _) in changes.items()})
        for layer, (_, delta) in changes.items():
            weights[layer] += projected(delta, weights[layer])
            lm.write(layer, weights[layer])

    lm = tiny.model()
    before = {layer: lm.weight(layer).clone() for layer in layers}
    editors = sequence.make_editors(before, second_moments, variant)
    for members in (requests[:2], requests[2:4]):
        writing.write_batch(lm, editors, variant, members, templates)
    for layer in layers:
        moved = torch.linalg.matrix_norm(weights[layer] - before[layer].double())
        off = torch.linalg.matrix_norm(lm.weight(layer).double() - weights[layer])
        assert off < 1e-3 * moved


def second_moment(seed):
    """Of random keys of the tiny model's width."""
    keys = draw(48, 200, seed=seed) * torch.logspace(0, -1, 48, dtype=torch.float64)[:, None]
    return SecondMoment(keys @ keys.mT / 200)


def test_only_additive_closed_forms_can_be_wrapped():
    entry = {"method": "sphere", "base": "mose", "layers": [3], "lambda": 1.0, "learning_rate": 0.1}
    with pytest.raises(ConfigError, match="mose is not a closed-form additive method"):
        parse_variant(entry)
    with pytest.raises(ConfigError, match="unknown key 'ridge' for method sphere of memit"):
        parse_variant({**entry, "base": "memit", "ridge": 1.0})


def test_isospectral_refuses_an_unedited_matrix_without_full_rank_at_once(weight, moment):
    weight[3] = 0
    said = rf"unedited matrix has rank {D_OUT - 1} of {D_OUT} .* other layers \(layers\)"
    with pytest.raises(NumericalError, match=said):
        make("isospectral", weight, moment)
    variant = parse_variant(
        {"method": "isospectral", "layers": [3], "learning_rate": 0.1, "lambda": 1}
    )
    with pytest.raises(NumericalError, match=r"^layer 3: the unedited matrix has rank"):
        sequence.make_editors({3: weight}, {3: moment}, variant)
