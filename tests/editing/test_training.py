"""Training against a plain loop: the whole model, one request at a time, torch's own autograd."""

import random

import pytest
import tiny
import torch

from mose.editing import sequence, training, writing
from mose.errors import ConfigError, NumericalError
from mose.methods.register import parse_variant


def plain_fine_tuning(lm, requests, layer, learning_rate, rounds):
    """W after full-batch Adam on the mean of the requests' mean NLLs, and the last losses."""
    weight = lm.projection(layer).weight.requires_grad_()
    adam = torch.optim.Adam([weight], lr=learning_rate)
    for _ in range(rounds):
        losses = []
        for request in requests:
            prompt = lm.tokenizer(request.text)["input_ids"]
            target = lm.tokenizer(f" {request.target_new}")["input_ids"]
            logits = lm.model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(target)))
        adam.zero_grad()
        torch.stack(losses).mean().backward()
        adam.step()
    return lm.weight(layer).detach(), [float(loss.detach()) for loss in losses]


def plain_rotation(lm, requests, layer, learning_rate, steps):
    """W after each request's own Adam on one set of generators, and each request's last loss."""
    base = lm.weight(layer).clone()
    name = next(n for n, p in lm.model.named_parameters() if p is lm.projection(layer).weight)
    generators = torch.zeros(4, 12, 12, requires_grad=True)
    eye = torch.eye(12)

    def weight():
        skew = [(g - g.mT) / 2 for g in generators]
        return base @ torch.block_diag(*[(eye - s) @ torch.linalg.inv(eye + s) for s in skew])

    losses = []
    for request in requests:
        prompt = lm.tokenizer(request.text)["input_ids"]
        target = lm.tokenizer(f" {request.target_new}")["input_ids"]
        adam = torch.optim.Adam([generators], lr=learning_rate)
        for _ in range(steps):
            ids = torch.tensor([prompt + target])
            out = torch.func.functional_call(lm.model, {name: weight()}, (ids,), tie_weights=False)
            logits = out.logits[0, len(prompt) - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(target))
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses.append(float(loss.detach()))
    return weight().detach(), losses


def test_a_rotation_is_trained_on_one_request_after_another(requests):
    entry = {"method": "oft", "layers": [2], "learning_rate": 0.01, "ball": 1.0}
    assert parse_variant(entry).edit.steps == 25
    variant = parse_variant({**entry, "steps": 5})
    lm = tiny.model()
    before = lm.weight(2).clone()
    editors = sequence.make_editors({2: before}, {}, variant)
    outcomes = writing.write_batch(lm, editors, variant, requests[:3], ["{}"])
    expected, losses = plain_rotation(tiny.model(), requests[:3], 2, 0.01, 5)
    assert [outcome[0] for outcome in outcomes] == [5, 5, 5]
    assert [outcome[1] for outcome in outcomes] == pytest.approx(losses, rel=1e-3)
    assert len({outcome[3] for outcome in outcomes}) == 3
    moved = torch.linalg.matrix_norm(expected - before)
    assert torch.linalg.matrix_norm(lm.weight(2) - expected) < 1e-3 * moved


def test_what_takes_one_request_at_a_time_has_no_minibatch():
    with pytest.raises(ConfigError, match="unknown key 'minibatch' for method oft"):
        parse_variant({"method": "oft", "layers": [2], "minibatch": 2})


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_fine_tuning_is_what_a_plain_loop_does(kind, requests):
    lm = tiny.model(kind)
    variant = parse_variant({"method": "ft", "layers": [2], "learning_rate": 0.003, "steps": 3})
    editors = sequence.make_editors({2: lm.weight(2)}, {}, variant)
    rounds, losses = training.train(lm, editors, requests, variant.edit)
    expected, plain = plain_fine_tuning(tiny.model(kind), requests, 2, 0.003, 3)
    assert rounds == 3
    assert losses == pytest.approx(plain, rel=1e-4)
    moved = (expected - lm.weight(2)).abs().max()
    assert moved > 0.005
    assert (editors[2].weight - expected).abs().max() < 0.01 * moved


def plain_breadth_first(lm, requests, layer, learning_rate, rounds, minibatch):
    """W after rounds of minibatches, each in the order that its number draws; objects are ended."""
    weight = lm.projection(layer).weight.requires_grad_()
    adam = torch.optim.Adam([weight], lr=learning_rate)
    for round_ in range(1, rounds + 1):
        left = list(requests)
        random.Random(round_).shuffle(left)
        while left:
            losses = []
            for request in left[:minibatch]:
                prompt = lm.tokenizer(request.text)["input_ids"]
                target = [
                    *lm.tokenizer(f" {request.target_new}")["input_ids"],
                    lm.tokenizer.eos_token_id,
                ]
                logits = lm.model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
                losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(target)))
            adam.zero_grad()
            torch.stack(losses).mean().backward()
            adam.step()
            left = left[minibatch:]
    return lm.weight(layer).detach()


LOCFT = {"method": "locft-bf", "layers": [2], "learning_rate": 0.003, "steps": 3, "minibatch": 4}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_breadth_first_is_a_plain_loop_over_all_requests_so_far(kind, requests):
    variant = parse_variant(LOCFT)
    lm = tiny.model(kind)
    before = lm.weight(2).clone()
    state = sequence.State(sequence.make_editors({2: before}, {}, variant))
    for edits in (2, 6):
        sequence.run(lm, state, variant, requests, ["{}"], 4, edits)
        expected = plain_breadth_first(tiny.model(kind), requests[:edits], 2, 0.003, 3, 4)
        moved = (expected - before).abs().max()
        assert moved > 0.005
        assert (lm.weight(2) - expected).abs().max() < 0.01 * moved
    assert [done.request for done in state.diagnoses] == [request.id for request in requests]


def test_batches_make_no_difference_to_what_is_trained_on_all_requests(requests):
    variant = parse_variant({**LOCFT, "learning_rate": 0.01})
    ends = []
    for batch in (1, 4, 6):
        lm = tiny.model()
        state = sequence.State(sequence.make_editors({2: lm.weight(2)}, {}, variant))
        sequence.run(lm, state, variant, requests, ["{}"], batch, 6)
        ends.append(lm.weight(2).clone())
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    assert not torch.equal(ends[0], tiny.model().weight(2))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": [1, 2]}, r"m\.layers: LocFT-BF trains one layer, found \[1, 2\]"),
        ({"norm_constraint": 0.1}, "unknown key 'norm_constraint' for method locft-bf"),
    ],
)
def test_what_would_be_another_method_than_breadth_first_is_refused(changed, said):
    with pytest.raises(ConfigError, match=said):
        parse_variant({**LOCFT, **changed}, "m")


def test_the_models_own_weights_are_left_alone(requests):
    lm = tiny.model()
    before = {name: p.clone() for name, p in lm.model.named_parameters()}
    variant = parse_variant({"method": "oft", "layers": [1, 2], "steps": 2})
    weights = {layer: lm.weight(layer) for layer in (1, 2)}
    training.train(lm, sequence.make_editors(weights, {}, variant), requests, variant.edit)
    for name, parameter in lm.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert not parameter.requires_grad


def test_minibatches_take_a_step_each_and_rounds_end_at_a_small_loss(requests):
    lm = tiny.model()
    lm.norm.weight.mul_(20.0)  # a sharper head, so that losses can become small
    entry = {"method": "ft", "layers": [2], "learning_rate": 0.05, "steps": 60}
    ends = {}
    for minibatch in (2, 10):
        variant = parse_variant({**entry, "minibatch": minibatch, "stop_loss": 1.0})
        editors = sequence.make_editors({2: lm.weight(2)}, {}, variant)
        ends[minibatch], losses = training.train(lm, editors, requests, variant.edit)
        assert sum(losses) / len(losses) < 1.0
    assert ends[2] < ends[10] < 60


def test_a_loss_that_is_not_finite_is_an_error(requests):
    lm = tiny.model()
    variant = parse_variant({"method": "ft", "layers": [2], "learning_rate": float("inf")})
    editors = sequence.make_editors({2: lm.weight(2)}, {}, variant)
    said = f"{requests[0].id} at layers 2 in round 2 is not finite at step 2; lower learning_rate"
    with pytest.raises(NumericalError, match=said):
        training.train(lm, editors, requests, variant.edit)
