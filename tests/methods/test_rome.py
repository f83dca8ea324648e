"""Rank-one edits: where they write, and the two keys of ROME."""

import pytest
import tiny
import torch
from small_layer import D_IN, D_OUT, draw, make

from mose.editing import sequence, targets, writing
from mose.errors import ConfigError
from mose.linalg.second_moment import SecondMoment
from mose.methods.register import parse_variant
from mose.methods.rome import rome_delta


def plain_key(lm, layer, text):
    """The input of the layer's projection at the last token of `text`, by the whole model."""
    seen = []
    hook = lm.projection(layer).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    lm.model(torch.tensor([lm.tokenizer(text)["input_ids"]]))
    hook.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])[-1:].mT.double()


@pytest.mark.parametrize("name", ["rome", "r-rome"])
def test_in_the_model_the_mean_key_weighs_all_contexts_alike(name, requests, templates):
    """Against the formula on keys of a plain pass, one request and one prompt at a time."""
    layer, chosen = 1, requests[:2]
    entry = {"method": name, "layers": [layer], "learning_rate": 0.2, "steps": 4}
    variant = parse_variant(entry)
    keys = draw(48, 200, seed=2)
    second_moment = SecondMoment(keys @ keys.mT / 200)

    lm, attained = tiny.model(), []
    for request in chosen:
        shift = targets.optimise(lm, [request], templates, variant.edit).shift.mT
        upto = request.text[: request.text.index(request.subject) + len(request.subject)]
        per_template = [plain_key(lm, layer, t.replace("{}", upto)) for t in templates]
        mean = sum(per_template) / len(templates)
        at = per_template[0] if name == "rome" else mean
        whitened = torch.linalg.solve(second_moment.matrix, mean)
        attained.append(float((mean * whitened).sum() / (at * whitened).sum()))
        delta = shift @ whitened.mT / (at * whitened).sum()
        lm.write(layer, lm.weight(layer).double() + delta)
    expected = lm.weight(layer).clone()

    lm = tiny.model()
    before = lm.weight(layer).clone()
    editors = sequence.make_editors({layer: before}, {layer: second_moment}, variant)
    outcomes = writing.write_batch(lm, editors, variant, chosen, templates)
    assert [outcome[2] for outcome in outcomes] == pytest.approx(attained, rel=1e-3)
    off = torch.linalg.matrix_norm(lm.weight(layer) - expected)
    assert off < 1e-4 * torch.linalg.matrix_norm(expected - before)


def test_rome_writes_its_value_at_the_bare_key_and_r_rome_at_the_mean_key(weight, moment):
    mean, prompt_key, residual = (
        draw(D_IN, 1, seed=3),
        draw(D_IN, 1, seed=4),
        draw(D_OUT, 1, seed=5),
    )
    for name, written in (("rome", prompt_key), ("r-rome", mean)):
        editor, _ = make(name, weight, moment)
        editor.update(mean, residual, prompt_key)
        change = editor.weight.double() - weight.double()
        assert torch.allclose(change @ written, residual, atol=1e-4)
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == 1


def test_with_one_key_it_is_the_least_change_that_writes_the_value(moment):
    """Lagrange's system for min tr(D C D^T) subject to D k = r, solved whole."""
    key, residual = draw(D_IN, 1, seed=3), draw(D_OUT, 1, seed=4)
    system = torch.zeros(D_IN + 1, D_IN + 1, dtype=torch.float64)
    system[:D_IN, :D_IN] = moment.matrix
    system[:D_IN, D_IN:], system[D_IN:, :D_IN] = key, key.mT
    right = torch.cat([torch.zeros(D_IN, D_OUT, dtype=torch.float64), residual.mT])
    solved = torch.linalg.solve(system, right)[:D_IN].mT
    assert torch.allclose(rome_delta(key, residual, moment, key), solved, atol=1e-10)


def test_it_takes_one_layer_and_one_request(weight, moment):
    with pytest.raises(ConfigError, match=r"a rank-one update needs one layer, found \[3, 4\]"):
        parse_variant({"method": "rome", "layers": [3, 4], "learning_rate": 0.5})
    with pytest.raises(ValueError, match="one request at a time, found 2"):
        make("rome", weight, moment)[0].update(draw(D_IN, 2), draw(D_OUT, 2))
