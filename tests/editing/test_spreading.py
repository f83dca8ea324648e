"""How targets come to several layers, against loops that are plain and slow."""

import dataclasses

import pytest
import tiny
import torch
from sequences import parse, second_moments_of
from transformers import LlamaForCausalLM

from mose.editing import sequence, spreading, targets, writing
from mose.errors import ConfigError, NumericalError
from mose.models.tokens import encode_edit

BARE = ["{}"]


def start(variant):
    lm = tiny.model("llama")
    weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
    return lm, sequence.new_state(weights, variant, lambda: second_moments_of("llama"))


def last_token(model: LlamaForCausalLM, ids, layers, shift=None):
    """Keys and outputs of blocks at the last token; shift: added to the first one's output."""
    keys, outputs, hooks = {}, {}, []
    for layer in layers:
        block = model.model.layers[layer]

        def keep(_module, _args, output, layer=layer):
            if layer == layers[0] and shift is not None:
                output = output.clone()
                output[0, -1] += shift
            outputs[layer] = output[0, -1].double()
            return output

        def keep_key(_module, args, layer=layer):
            keys[layer] = args[0][0, -1].double()

        hooks.append(block.register_forward_hook(keep))
        hooks.append(block.mlp.down_proj.register_forward_pre_hook(keep_key))
    with torch.no_grad():
        model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return keys, outputs


def test_forward_is_a_target_at_the_first_layer_and_what_the_model_makes_of_it(requests):
    """MEMIT, one request at a time through the whole model, solved with an inverse."""
    variant = parse("memit-forward")
    lm, state = start(variant)
    (first, second), members = variant.edit.layers, requests[:3]
    one_layer = dataclasses.replace(variant.edit, layers=(first,), spread="even")
    shifts = targets.optimise(lm, members, BARE, one_layer).shift
    attained = writing.write_batch(lm, state.editors, variant, members, BARE)

    plain = tiny.model("llama")
    rows = []
    for member in members:
        cut = encode_edit(plain.tokenizer, "{}", member.prompt, member.subject)
        rows.append([*cut.prefix, cut.suffix[0]])

    def seen(layer):
        found = [last_token(plain.model, ids, [layer]) for ids in rows]
        keys, outputs = zip(*found, strict=True)
        return torch.stack([k[layer] for k in keys], 1), torch.stack([o[layer] for o in outputs], 1)

    wanted = [
        last_token(plain.model, ids, [first, second], shift.float())[1]
        for ids, shift in zip(rows, shifts, strict=True)
    ]
    before = seen(second)[1]
    for layer in (first, second):
        moment = second_moments_of("llama")[layer].matrix.double()
        keys, outputs = seen(layer)
        missing = torch.stack([w[layer] for w in wanted], 1) - outputs
        gram = variant.edit.retention_weight * moment + keys @ keys.mT
        change = missing @ keys.mT @ torch.linalg.inv(gram)
        plain.write(layer, plain.weight(layer) + change)
        assert torch.allclose(lm.weight(layer), plain.weight(layer), atol=2e-5)
    asked = torch.stack([w[second] for w in wanted], 1) - before
    change = seen(second)[1] - before
    fractions = (change * asked).sum(0) / (asked**2).sum(0)
    found = torch.tensor([outcome.attained for outcome in attained], dtype=torch.float64)
    assert torch.allclose(found, fractions, atol=1e-3)


@pytest.mark.parametrize("name", ["memit", "mose-output"])
def test_each_is_one_layer_after_the_other(name, requests, templates):
    together = parse(name, layers=[1, 2], spread="each")
    lm, state = start(together)
    outcomes = writing.write_batch(lm, state.editors, together, requests[:3], templates)

    alone = tiny.model("llama")
    steps = torch.zeros(3)
    for layer in (1, 2):
        variant = parse(name, layers=[layer])
        editors = sequence.make_editors(
            {layer: alone.weight(layer)}, second_moments_of("llama"), variant
        )
        last = writing.write_batch(alone, editors, variant, requests[:3], templates)
        steps += torch.tensor([outcome.steps for outcome in last])
    for layer in (1, 2):
        assert torch.equal(lm.weight(layer), alone.weight(layer))
    assert [outcome.steps for outcome in outcomes] == steps.tolist()
    assert [outcome.loss for outcome in outcomes] == [outcome.loss for outcome in last]
    assert [outcome.attained for outcome in outcomes] == [outcome.attained for outcome in last]
    assert all(outcome.wanted is None for outcome in outcomes)


@pytest.mark.parametrize("spread", ["forward", "each"])
def test_one_layer_leaves_nothing_to_spread(spread, requests, templates):
    results = []
    for how in ("even", spread):
        variant = parse("memit", layers=[1], spread=how)
        lm, state = start(variant)
        outcomes = writing.write_batch(lm, state.editors, variant, requests[:3], templates)
        results.append((lm.weight(1), [(o.loss, o.attained) for o in outcomes]))
        assert all(outcome.wanted is not None for outcome in outcomes)
    (even, said), (other, also_said) = results
    assert torch.allclose(even, other, atol=1e-6)
    assert torch.allclose(torch.tensor(said), torch.tensor(also_said), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("memit", {"spread": "each", "replay": 2}, "spread: each has a target for each layer"),
        ("memit", {"spread": "each", "targets_from": "unedited"}, "spread: each has a target"),
        (
            "alphaedit",
            {"spread": "each", "targets": "anchored", "anchor": 3},
            "spread: each needs a length for each layer",
        ),
        (
            "mose-output",
            {"spread": "forward", "layers": [1, 2]},
            "targets: reachable with spread: forward needs one layer",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused(name, changed, said):
    with pytest.raises(ConfigError, match=said):
        parse(name, **changed)


def test_targets_of_the_unedited_model_are_sought_at_the_first_layer(requests, templates):
    """Written from a file of targets or sought as one goes: the same weights."""
    variant = parse("memit-forward", targets_from="unedited", memory="keys")
    weights = []
    for beforehand in (True, False):
        lm, state = start(variant)
        found = None
        if beforehand:
            sought = writing.find_wanted(lm, requests[:4], templates, variant.edit)
            found = {r.id: target for r, target in zip(requests, sought, strict=False)}
        sequence.run(lm, state, variant, requests, templates, 2, 4, found=found)
        weights.append(lm.weight(2))
    assert torch.allclose(*weights, atol=1e-5)
    assert spreading.collect_before(
        spreading.Group(lm, {}, variant.edit, requests[:1], templates)
    ).keys.keys() == {1}


@pytest.mark.parametrize("name", ["memit-each-context", "alphaedit"])
def test_every_context_is_asked_for_its_own_change(name, requests, templates):
    """One layer, against the weighted sum over templates, solved with an inverse."""
    variant = parse(name, contexts="each", layers=[1])
    lm, state = start(variant)
    members, layer = requests[:3], 1
    shifts = targets.optimise(lm, members, templates, variant.edit).shift.double()
    plain = tiny.model("llama")
    before = plain.weight(layer).double()
    keys, changes, weights = [], [], []
    for member, shift in zip(members, shifts, strict=True):
        for place, template in enumerate(templates):
            cut = encode_edit(plain.tokenizer, template, member.prompt, member.subject)
            found, _ = last_token(plain.model, [*cut.prefix, cut.suffix[0]], [layer])
            keys.append(found[layer])
            changes.append(shift)
            weights.append(0.5 if place == 0 else 0.5 / (len(templates) - 1))
    found, wanted = torch.stack(keys, 1), torch.stack(changes, 1)
    scaled = found * torch.tensor(weights, dtype=torch.float64)
    moment = second_moments_of("llama")[layer].matrix.double()
    if name == "alphaedit":
        values, vectors = torch.linalg.eigh(moment)
        null = vectors[:, values < variant.edit.null_threshold]
        inside = null.mT @ scaled @ found.mT @ null
        inside.diagonal().add_(variant.edit.ridge)
        change = wanted @ scaled.mT @ null @ torch.linalg.inv(inside) @ null.mT
    else:
        gram = variant.edit.retention_weight * moment + scaled @ found.mT
        change = wanted @ scaled.mT @ torch.linalg.inv(gram)
    writing.write_batch(lm, state.editors, variant, members, templates)
    assert torch.allclose(state.editors[layer].weight.double(), before + change, atol=1e-5)
    mean = parse(name, contexts="mean", layers=[1])
    lm, state = start(mean)
    writing.write_batch(lm, state.editors, mean, members, templates)
    assert not torch.allclose(state.editors[layer].weight.double(), before + change, atol=1e-3)


@pytest.mark.parametrize("kind", ["key", "wanted change"])
def test_what_is_not_finite_is_not_written(kind, requests, templates):
    variant = parse("memit")
    lm, state = start(variant)
    before = lm.weight(1).clone()
    keys, residuals = torch.ones(lm.weight(1).shape[1], 1), torch.ones(lm.weight(1).shape[0], 1)
    (keys if kind == "key" else residuals)[3, 0] = torch.inf
    group = spreading.Group(lm, state.editors, variant.edit, requests[:1], templates)
    with pytest.raises(NumericalError, match=f"layer 1: a {kind} is NaN or infinite"):
        group.update(1, keys.double(), residuals.double())
    assert torch.equal(lm.weight(1), before)
