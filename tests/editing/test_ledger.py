"""The ledger: edits solved again from the unedited weights, whatever their order and batches."""

import json

import pytest
import tiny
import torch
from sequences import identity, parse, second_moments_of

from mose.editing import checkpoints, sequence, shared_targets, writing
from mose.errors import ConfigError, StoreError
from mose.methods import register
from mose.methods.register import parse_variant

WITH_MEMORY = ["memit-keys", "encore", "alphaedit", "mose-accumulate", "mose-both"]
REPLAYED = {"replay": 4, "targets_from": "unedited"}
# Edits that are small beside the weight: there the best rotation of both sides is well determined.
RETENTION = {"mose-both": {"lambda": 5.0}}


def replayed(name, every=4):
    retention = RETENTION.get(name, {})
    return parse(name, **{**REPLAYED, "replay": every}, **retention)


def start(variant, kind="llama"):
    """A model and a state whose unedited weights are at hand."""
    lm = tiny.model(kind)
    weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
    return lm, sequence.new_state(weights, variant, lambda: second_moments_of(kind))


def edited(variant, requests, templates, batch, kind="llama"):
    lm, state = start(variant, kind)
    sequence.run(lm, state, variant, requests, templates, batch, len(requests))
    return lm, state


def weights_of(state):
    return {layer: editor.weight.double() for layer, editor in state.editors.items()}


def distance(one, other, unedited):
    """Largest distance of two weights, relative to what the edits changed."""
    moved = max(float(torch.linalg.matrix_norm(one[i] - unedited[i])) for i in one)
    return max(float(torch.linalg.matrix_norm(one[i] - other[i])) for i in one) / moved


@pytest.mark.parametrize("name", [*WITH_MEMORY, "memit", "emmet", "rect"])
def test_neither_order_nor_batches_matter(name, requests, templates):
    variant = replayed(name)
    _, unedited = start(variant)
    before = weights_of(unedited)
    results = []
    for order, batch in ((requests[:4], 4), (requests[:4], 2), (requests[3::-1], 1)):
        lm, state = edited(variant, order, templates, batch)
        results.append(weights_of(state))
        for layer, weight in results[-1].items():  # and the model runs with them
            assert torch.equal(lm.weight(layer).double(), weight.float().double())
    for other in results[1:]:
        assert distance(results[0], other, before) < 1e-3
    # Without solving again, the order does matter.
    plain = parse(name, targets_from="unedited", **RETENTION.get(name, {}))
    chains = [
        weights_of(edited(plain, order, templates, 1)[1])
        for order in (requests[:4], requests[3::-1])
    ]
    assert distance(*chains, before) > 1e-2


def test_all_at_once_from_the_unedited_model_is_one_batch(requests, templates):
    """A single batch needs no ledger: solving it again changes rounding only."""
    variant = parse("memit", replay=4)
    _, unedited = start(variant)
    _, again = edited(variant, requests[:4], templates, 4)
    _, once = edited(parse("memit"), requests[:4], templates, 4)
    assert distance(weights_of(once), weights_of(again), weights_of(unedited)) < 1e-4


@pytest.mark.parametrize("name", ["memit-keys", "mose-both"])
def test_what_was_taken_out_was_never_written(name, requests, templates):
    variant = replayed(name)
    lm, state = edited(variant, requests[:4], templates, 2)
    _, unedited = start(variant)
    left = [requests[i] for i in (0, 1, 3)]
    del state.wanted[2], state.diagnoses[2]
    state.edits = 3
    sequence.solve_again(lm, state, variant, left, templates)
    _, without = edited(replayed(name, every=3), left, templates, 3)
    one, other = weights_of(state), weights_of(without)
    assert distance(one, other, weights_of(unedited)) < 1e-3


def test_targets_of_the_unedited_model_do_not_know_earlier_edits(requests, templates):
    variant = parse("memit", targets_from="unedited")
    _, chain = edited(variant, requests[:4], templates, 1)
    _, alone = edited(variant, requests[3:4], templates, 1)
    assert torch.allclose(chain.wanted[3], alone.wanted[0], atol=1e-5)
    _, present = edited(parse("memit"), requests[:4], templates, 1)
    assert not torch.allclose(present.wanted[3], alone.wanted[0], atol=1e-3)


def test_a_replay_writes_what_was_wanted(requests, templates):
    """The hidden state of the edited model is the wanted one, measured by itself."""
    variant = parse("memit-keys", replay=4, **{"lambda": 1e-6})
    lm, state = edited(variant, requests[:4], templates[:1], 2)
    from mose.statistics import keys

    now = keys.collect(lm, requests[:4], templates[:1], variant.edit.layers).prompt_hidden
    wanted = torch.stack(state.wanted, dim=1)
    before = keys.collect(start(variant)[0], requests[:4], templates[:1], variant.edit.layers)
    missing = torch.linalg.matrix_norm(now - wanted)
    assert missing < 0.05 * torch.linalg.matrix_norm(before.prompt_hidden - wanted)


@pytest.mark.parametrize("name", ["memit-keys", "mose-both"])
def test_the_ledger_survives_a_checkpoint_to_the_last_bit(name, requests, templates, tmp_path):
    variant, known = (
        replayed(name),
        identity(replayed(name), model="tiny-llama-0"),
    )
    _, whole = edited(variant, requests[:6], templates, 2)
    lm, first = start(variant)
    sequence.run(lm, first, variant, requests, templates, 2, 2)
    checkpoints.save(tmp_path / "edits2.h5", first, known, requests)
    lm, resumed = start(variant)
    checkpoints.load(tmp_path / "edits2.h5", resumed, known, requests)
    sequence.put_into(lm, resumed)
    sequence.run(lm, resumed, variant, requests[:6], templates, 2, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole.wanted, resumed.wanted, strict=True))
    for layer, weight in weights_of(whole).items():
        assert torch.equal(weight.float(), resumed.editors[layer].weight.float())


def test_what_cannot_be_solved_again_is_refused(requests, templates):
    lm, state = start(parse("memit-keys", replay=2))
    state.edits = 1
    with pytest.raises(ConfigError, match="1 edits and 0 wanted outputs"):
        sequence.solve_again(lm, state, parse("memit-keys", replay=2), requests, templates)
    reachable = {
        "method": "mose",
        "targets": "reachable",
        "layers": [1],
        "lambda": 1,
        "learning_rate": 1,
    }
    with pytest.raises(ConfigError, match="replay: needs wanted outputs"):
        parse_variant({**reachable, "replay": 10})
    with pytest.raises(ConfigError, match="unknown key 'replay' for method rome"):
        parse_variant({"method": "rome", "layers": [1], "learning_rate": 1, "replay": 10})
    variant = parse("mose-output")
    lm, state = start(variant)
    with pytest.raises(TypeError, match="not wanted outputs"):
        writing.write_wanted(
            lm, state.editors, variant, requests[:1], templates, torch.zeros(16, 1)
        )


def test_shared_targets_are_those_that_the_sequence_finds(requests, templates, tmp_path):
    variants = [parse(name, **REPLAYED) for name in ("memit-keys", "alphaedit", "rect")]
    seekers = {register.target_variant(variant).as_json() for variant in variants}
    assert len(seekers) == 1, "one search serves all three"
    lm, _ = start(variants[0])
    path, members = tmp_path / "targets4.h5", requests[:4]
    found = shared_targets.find(lm, members, templates, parse_variant(json.loads(seekers.pop())), 2)
    shared_targets.save(path, found, variants[0], "tiny", members, templates)
    for variant in variants:
        known = shared_targets.load(path, variant, "tiny", members, templates)
        lm, state = start(variant)
        sequence.run(lm, state, variant, members, templates, 2, 4, found=known)
        _, alone = edited(variant, members, templates, 2)
        assert all(torch.equal(a, b) for a, b in zip(state.wanted, alone.wanted, strict=True))
        assert [d.loss for d in state.diagnoses] == [d.loss for d in alone.diagnoses]
        for layer, weight in weights_of(alone).items():
            assert torch.equal(weight, weights_of(state)[layer])


@pytest.mark.parametrize(
    "changed",
    [{"steps": 9}, {"clamp": 0.5}, {"layers": [1, 3]}, {"patience": 1}, {"targets": "rescaled"}],
)
def test_shared_targets_of_other_options_are_refused(changed, requests, templates, tmp_path):
    variant = parse("memit", **REPLAYED)
    found = [writing.FoundTarget(1, 0.0, 0.0, torch.zeros(4))] * 2
    path = tmp_path / "targets2.h5"
    shared_targets.save(path, found, variant, "tiny", requests[:2], templates)
    assert len(shared_targets.load(path, variant, "tiny", requests[:2], templates)) == 2
    other = parse("memit", **{**REPLAYED, **changed})
    with pytest.raises(StoreError, match="sought with other options"):
        shared_targets.load(path, other, "tiny", requests[:2], templates)
    for model, members, contexts in (
        ("other", requests[:2], templates),
        ("tiny", requests[1:3], templates),
        ("tiny", requests[:2], templates[:1]),
    ):
        with pytest.raises(StoreError, match="sought with other"):
            shared_targets.load(path, variant, model, members, contexts)


def test_a_missing_target_is_named_before_anything_is_written(requests, templates):
    variant = parse("memit", **REPLAYED)
    lm, state = start(variant)
    with pytest.raises(ConfigError, match=f"no target of request {requests[0].id}"):
        sequence.run(lm, state, variant, requests, templates, 2, 4, found={})
    assert state.edits == 0
