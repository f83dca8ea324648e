"""Edits before a norm: what the whole model shows, by plain hooks, is what was wanted."""

import dataclasses

import pytest
import tiny
import torch
from sequences import parse, second_moments_of

from mose.editing import sequence, targets, writing
from mose.errors import ConfigError
from mose.models import post_norms
from mose.statistics import keys

PROMPT_ONLY = ["{}"]


def at_subject(lm, layer, request):
    """Outputs of a layer's projection and block at the subject's last token, by plain hooks."""
    upto = request.text[: request.text.index(request.subject) + len(request.subject)]
    seen = {}

    def keep(name):
        return lambda _module, _args, output: seen.__setitem__(name, output[0, -1].double())

    hooks = [
        lm.projection(layer).register_forward_hook(keep("value")),
        lm.blocks[layer].register_forward_hook(keep("hidden")),
    ]
    with torch.no_grad():
        lm.model(torch.tensor([lm.tokenizer(upto)["input_ids"]]))
    for hook in hooks:
        hook.remove()
    return seen["value"], seen["hidden"]


def normed(lm, layer, value):
    with torch.no_grad():
        return lm.blocks[layer].post_feedforward_layernorm(value.float()).double()


def edited(kind, variant, request):
    """Model, and values and hidden states at its last edited layer before and after an edit."""
    lm, layer = tiny.model(kind), variant.edit.layers[-1]
    before = at_subject(lm, layer, request)
    shift = targets.optimise(lm, [request], PROMPT_ONLY, variant.edit).shift[0]
    weights = {i: lm.weight(i) for i in variant.edit.layers}
    editors = sequence.make_editors(weights, second_moments_of(kind), variant)
    (outcome,) = writing.write_batch(lm, editors, variant, [request], PROMPT_ONLY)
    return lm, shift, before, at_subject(lm, layer, request), outcome[2]


@pytest.mark.parametrize("kind", tiny.POST_NORM)
@pytest.mark.parametrize("anchor", [None, 3.0])
def test_one_layer_writes_the_value_and_the_norm_of_it(kind, anchor, requests):
    changed = {} if anchor is None else {"targets": "anchored", "anchor": anchor}
    variant = parse("rome", clamp=20.0, **changed)
    lm, shift, (value, hidden), (new_value, new_hidden), attained = edited(
        kind, variant, requests[0]
    )
    wanted = value + shift
    assert shift.norm() > 0.5 * value.norm()
    assert torch.allclose(new_value, wanted, atol=1e-4 * float(wanted.norm()))
    change = normed(lm, 1, wanted) - normed(lm, 1, value)
    assert torch.allclose(new_hidden - hidden, change, atol=1e-3 * float(change.norm()))
    assert attained == pytest.approx(1, abs=1e-3)
    if anchor is not None:
        assert float(new_value.norm()) == pytest.approx(anchor, rel=1e-4)


@pytest.mark.parametrize("kind", tiny.POST_NORM)
def test_several_layers_together_give_the_wanted_output_of_the_last_block(kind, requests):
    variant = parse("memit", **{"lambda": 1e-9})
    lm, shift, (value, hidden), (_, new_hidden), attained = edited(kind, variant, requests[0])
    change = normed(lm, 2, value + shift) - normed(lm, 2, value)
    achieved = new_hidden - hidden
    assert attained == pytest.approx(float(achieved @ change / change.square().sum()), rel=1e-3)
    # What is left is out of reach of the last norm once the first layer has moved the stream.
    assert (achieved - change).norm() < 0.4 * change.norm()
    assert attained > 0.8
    # Both layers have a part in it.
    for layer in (1, 2):
        assert not torch.allclose(lm.weight(layer), tiny.model(kind).weight(layer), atol=1e-3)


@pytest.mark.parametrize("kind", tiny.POST_NORM)
def test_a_change_that_the_norm_can_make_is_pulled_back_exactly(kind, requests):
    lm, layer = tiny.model(kind), 1
    prompt_keys = keys.collect(lm, requests, PROMPT_ONLY, [layer]).prompt_keys[layer]
    values = post_norms.values_of(lm, layer, prompt_keys)
    shift = torch.randn(values.shape, generator=torch.Generator().manual_seed(0)).double()
    shift *= values.norm(dim=0) / shift.norm(dim=0)
    change = post_norms.through(lm, layer, values.mT, shift.mT).mT
    lengths = torch.linalg.vector_norm(values + shift, dim=0)
    back = post_norms.pulled_back(lm, layer, prompt_keys, change, lengths)
    assert torch.allclose(back, shift, atol=1e-3 * float(shift.abs().max()))
    kept = post_norms.pulled_back(lm, layer, prompt_keys, change)
    assert torch.allclose((values + kept).norm(dim=0), values.norm(dim=0))
    again = post_norms.through(lm, layer, values.mT, kept.mT).mT
    assert torch.allclose(again, change, atol=1e-3 * float(change.abs().max()))


def test_without_a_norm_nothing_is_changed(llama):
    change = torch.randn(32, 3)
    assert post_norms.through(llama, 1, change.mT, change.mT).mT.equal(change)
    assert post_norms.pulled_back(llama, 1, change, change) is change
    with pytest.raises(ValueError, match="block 1 has no norm behind its projection"):
        post_norms.gains(llama, 1)


def test_in_bfloat16_a_small_change_is_not_lost_in_rounding(requests):
    lm = tiny.model("gemma3")
    lm.model.to(torch.bfloat16)
    variant = parse("rome", clamp=20.0)
    tight = dataclasses.replace(variant.edit, clamp=0.01)
    shift = targets.optimise(lm, requests[:1], PROMPT_ONLY, tight).shift[0]
    value, _ = at_subject(lm, 1, requests[0])
    change = post_norms.through(lm, 1, value[None].bfloat16(), shift[None].float())[0].double()
    exact = tiny.model("gemma3")
    expected = normed(exact, 1, value + shift) - normed(exact, 1, value)
    assert (change - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("targets", [{"targets": "rescaled"}, {"targets": "anchored", "anchor": 9}])
def test_lengths_that_the_output_of_a_block_does_not_say_are_refused(targets, requests):
    variant = parse("alphaedit", targets_from="unedited", **targets)
    with pytest.raises(ConfigError, match="do not say a length; set targets_from: present"):
        writing.find_wanted(tiny.model("gemma3"), requests[:1], PROMPT_ONLY, variant.edit)
    assert writing.find_wanted(tiny.model("llama"), requests[:1], PROMPT_ONLY, variant.edit)
