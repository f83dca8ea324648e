"""Keys and gradients at the answers' tokens, against plain backpropagation row by row."""

import pytest
import tiny
import torch
from sequences import parse
from torch.nn.functional import cross_entropy

from mose.editing import sequence, signals, writing
from mose.errors import ConfigError
from mose.methods.register import parse_variant

LAYERS = (1, 2)


def by_backpropagation(kind, requests):
    """Keys, gradients and NLL of one minibatch: the whole model, one unpadded row at a time."""
    lm = tiny.model(kind)
    lm.model.get_input_embeddings().weight.requires_grad_(True)  # so that outputs have gradients
    rows = []
    for request in requests:
        prompt = lm.tokenizer(request.text)["input_ids"]
        rows.append((prompt, lm.tokenizer(f" {request.target_new}")["input_ids"]))
    tokens = sum(len(target) for _, target in rows)
    kept = {layer: ([], []) for layer in LAYERS}
    losses = []
    for prompt, target in rows:
        seen = {}

        def hook(module, args, output, seen=seen):
            output.retain_grad()
            seen[module] = args[0].detach(), output

        handles = [lm.projection(layer).register_forward_hook(hook) for layer in LAYERS]
        logits = lm.model(torch.tensor([prompt + target[:-1]])).logits[0, len(prompt) - 1 :]
        nll = cross_entropy(logits, torch.tensor(target), reduction="sum")
        (nll / tokens).backward()
        losses.append(float(nll.detach()) / len(target))
        for handle in handles:
            handle.remove()
        for layer in LAYERS:
            inputs, output = seen[lm.projection(layer)]
            places = slice(len(prompt) - 1, None)
            kept[layer][0].append(inputs.reshape(-1, inputs.shape[-1])[places])
            kept[layer][1].append(output.grad.reshape(-1, output.shape[-1])[places])
    return {la: [torch.cat(parts).mT.double() for parts in kept[la]] for la in LAYERS}, losses


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_they_are_those_of_plain_backpropagation_of_each_minibatch(kind, requests):
    options = parse("ultraedit", minibatch=4).edit
    found = signals.collect(tiny.model(kind), requests, options)
    parts = [by_backpropagation(kind, part) for part in (requests[:4], requests[4:])]
    for layer in LAYERS:
        keys, gradients = (torch.cat([part[layer][i] for part, _ in parts], 1) for i in (0, 1))
        assert torch.allclose(found.keys[layer], keys, rtol=1e-4, atol=1e-5)
        largest = gradients.abs().max()
        assert largest > 0
        assert (found.gradients[layer] - gradients).abs().max() < 1e-4 * largest
    assert found.losses == pytest.approx([loss for _, own in parts for loss in own], rel=1e-4)


def test_a_batch_takes_all_signals_from_one_model_and_every_editor_sees_every_layer(requests):
    variant = parse("ultraedit")
    lm = tiny.model()
    found = signals.collect(lm, requests, variant.edit)
    editors = sequence.make_editors({la: lm.weight(la) for la in LAYERS}, {}, variant)
    outcomes = writing.write_batch(lm, editors, variant, requests, ["{}"])
    places = found.keys[1].shape[1]
    for layer, editor in editors.items():
        assert float(editor.state()["count"]) == len(LAYERS) * places
        assert torch.equal(lm.weight(layer), editor.weight)
        # The change lies in the span of the batch's keys in the model before it.
        change = editor.weight.double() - tiny.model().weight(layer).double()
        basis = torch.linalg.qr(found.keys[layer]).Q
        assert torch.dist(change @ basis @ basis.mT, change) < 1e-3 * change.norm()
    assert [outcome.loss for outcome in outcomes] == found.losses
    assert {(outcome.steps, outcome.attained, outcome.wanted) for outcome in outcomes} == {
        (1, None, None)
    }


def test_options_that_would_do_nothing_are_refused():
    with pytest.raises(ConfigError, match="unknown key 'steps' for method ultraedit"):
        parse_variant({"method": "ultraedit", "layers": [1], "steps": 3})
