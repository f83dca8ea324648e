"""A repeated pass gives, to the last bit, what a pass from the first block gives."""

import copy

import pytest
import tiny
import torch

from mose.errors import ConfigError
from mose.models.repeated_pass import RepeatedPass
from mose.models.tokens import pad
from mose.statistics import keys

ROWS = [[5, 9, 11, 40, 7, 22], [30, 31, 8], [12], [100, 3, 55, 60]]
DEEPEST = 3


@pytest.fixture(params=[*tiny.KINDS, "stablelm", "starcoder2"])
def lm(request):
    return copy.deepcopy(tiny.model(request.param))


def write(lm, layer):
    """Change the weight of a layer by a tenth of itself."""
    lm.write(layer, 1.1 * lm.weight(layer))


def same(found, expected):
    assert torch.equal(found.hidden, expected.hidden)
    assert found.inputs.keys() == expected.inputs.keys()
    for layer, inputs in expected.inputs.items():
        assert torch.equal(found.inputs[layer], inputs)


def blocks_run(lm, call):
    """What `call` returns, and the numbers of the blocks that it ran."""
    run = []
    hooks = [
        block.register_forward_pre_hook(lambda _m, _a, i=i: run.append(i))
        for i, block in enumerate(lm.blocks)
    ]
    result = call()
    for hook in hooks:
        hook.remove()
    return result, run


def test_layers_written_in_turn_are_seen_by_all_deeper_ones(lm):
    ids, mask = pad(ROWS, "left")
    repeated = RepeatedPass(lm, ids, mask)
    same(repeated.run([1, 2, DEEPEST]), lm.truncated(ids, mask, [1, 2, DEEPEST]))
    for layer, layers in ((1, [2, DEEPEST]), (2, [DEEPEST]), (DEEPEST, [DEEPEST])):
        write(lm, layer)
        trace, run = blocks_run(lm, lambda layers=layers: repeated.run(layers))
        same(trace, lm.truncated(ids, mask, layers))
        assert run == list(range(layer, DEEPEST + 1))


@pytest.mark.parametrize("written", [0, 1])
def test_a_layer_below_the_kept_input_starts_again(llama, written):
    lm = copy.deepcopy(llama)
    ids, mask = pad(ROWS, "left")
    repeated = RepeatedPass(lm, ids, mask)
    repeated.run([2])
    write(lm, written)
    same(repeated.run([2]), lm.truncated(ids, mask, [2]))


def test_a_deeper_layer_than_before_is_reached(llama):
    ids, mask = pad(ROWS, "left")
    repeated = RepeatedPass(llama, ids, mask)
    repeated.run([1])
    same(repeated.run([DEEPEST], keep=1), llama.truncated(ids, mask, [DEEPEST]))
    trace, run = blocks_run(llama, lambda: repeated.run([2]))
    same(trace, llama.truncated(ids, mask, [2]))
    assert run == [1, 2]


def test_a_layer_out_of_range_is_refused(llama):
    with pytest.raises(ConfigError, match="layers: layer 9 is out of range"):
        RepeatedPass(llama, *pad(ROWS)).run([9])


def test_keys_collected_again_are_those_collected_anew(llama, requests, templates):
    lm = copy.deepcopy(llama)
    prompts = keys.Prompts(lm, requests, templates, tokens_per_pass=40)
    prompts.collect([1, DEEPEST])
    write(lm, 1)
    again, anew = (
        collect([2, DEEPEST])
        for collect in (
            prompts.collect,
            lambda layers: keys.collect(lm, requests, templates, layers, tokens_per_pass=40),
        )
    )
    assert torch.equal(again.hidden, anew.hidden)
    for layer in (2, DEEPEST):
        assert torch.equal(again.keys[layer], anew.keys[layer])
        assert torch.equal(again.prompt_keys[layer], anew.prompt_keys[layer])
