"""The library's paths on a second device: no mixing of devices, the host's numbers, few waits."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from second_device import FAR, SecondDevice, move
from sequences import VARIANTS, WITHOUT_TARGETS, identity, parse, second_moments_of

from mose.editing import anchors, checkpoints, layer_choice, sequence, targets
from mose.evaluation import prompt_scores
from mose.linalg.second_moment import SecondMoment
from mose.models import sampling
from mose.statistics import keys, second_moments

# Every way in which an editor and the loop meet the model.
NAMES = (
    "memit-keys", "mose", "mose-output", "mose-input", "memit-rescaled", "rome", "alphaedit",
    "sphere", "ft", "oft",
)  # fmt: skip


def far_model(kind="llama"):
    lm = tiny.model(kind)
    move(lm.model)
    assert lm.device == FAR
    return lm


def test_the_second_device_notices_mixing_and_counts_waits():
    with SecondDevice() as device:
        far = torch.arange(4.0, device=FAR)
        assert (far + 1).device == FAR
        with pytest.raises(RuntimeError, match="add: tensors of two devices"):
            far + torch.ones(4)
        with pytest.raises(RuntimeError, match="index: tensors of two devices"):
            far[torch.tensor([0, 1])]
        assert not device.waits
        assert (far * torch.tensor(2.0)).cpu().tolist() == [0, 2, 4, 6]
        assert float(far.sum()) == 6
        assert device.waits == {"aten::_to_copy": 1, "aten::_local_scalar_dense": 1}
        far[1] = 7
        assert far.tolist() == [0, 7, 2, 3]


@pytest.mark.parametrize("name", NAMES)
def test_edits_there_are_the_edits_here(name, requests, templates):
    variant = parse(name, steps=3)
    moments, here = second_moments_of("llama"), tiny.model("llama")
    weights = {layer: here.weight(layer) for layer in variant.edit.layers}
    state = sequence.State(sequence.make_editors(weights, moments, variant))
    sequence.run(here, state, variant, requests, templates, 2, 2)
    with SecondDevice():
        lm = far_model()
        weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
        far_state = sequence.State(sequence.make_editors(weights, moments, variant))
        sequence.run(lm, far_state, variant, requests, templates, 2, 2)
        for layer in variant.edit.layers:
            edited, expected = lm.weight(layer).cpu(), here.weight(layer)
            assert torch.allclose(edited, expected, atol=1e-4)


SOLVED = [name for name in VARIANTS if name not in WITHOUT_TARGETS and name != "in-context"]


def run_two_batches(lm, variant, moments, requests, templates, devices, stored=None):
    """The state after two batches; with `stored`, a path, resumed in the middle from a file."""

    def made():
        weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
        return sequence.new_state(weights, variant, lambda: moments, devices)

    state, fresh = made(), made()
    sequence.run(lm, state, variant, requests, templates, 2, 2)
    if stored is not None:
        checkpoints.save(stored, state, identity(variant), requests)
        checkpoints.load(stored, fresh, identity(variant), requests)
        state = fresh
    sequence.run(lm, state, variant, requests, templates, 2, 4)
    return state


@pytest.mark.parametrize("name", SOLVED)
def test_what_is_solved_there_is_what_is_solved_here(name, requests, templates, tmp_path):
    variant, unedited = parse(name, steps=3), tiny.model("llama")
    moments, here = second_moments_of("llama"), tiny.model("llama")
    state = run_two_batches(here, variant, moments, requests, templates, None)
    with SecondDevice():
        lm, devices = far_model(), dict.fromkeys(variant.edit.layers, FAR)
        path = tmp_path / "edits2.h5"
        far = run_two_batches(lm, variant, moments, requests, templates, devices, path)
        for layer, editor in far.editors.items():
            assert editor.weight.device == FAR
            # Two sides stop by a tolerance, which passes' last digits move.
            apart = (lm.weight(layer).cpu() - here.weight(layer)).norm()
            assert apart < 0.01 * (here.weight(layer) - unedited.weight(layer)).norm()
            for kept, tensor in editor.state().items():
                assert tensor.device.type == "cpu", kept
                assert tensor.shape == state.editors[layer].state()[kept].shape


def test_a_second_moment_goes_there_once_for_all_editors():
    read = []

    def matrix():
        read.append(1)
        return torch.eye(3, dtype=torch.float64)

    moment = SecondMoment(matrix)
    with SecondDevice():
        there = moment.on(FAR)
        assert there is moment.on(FAR)
        assert there.cholesky.device == there.matrix.device == FAR
    assert len(read) == 1


@pytest.mark.parametrize(("solve_on", "where"), [("model", "cuda"), ("host", "cpu")])
def test_layers_are_solved_where_they_are(solve_on, where):
    """Also where a model is divided among GPUs; no other kind of device has float64 for sure."""

    class Divided:
        def weight(self, layer):
            return SimpleNamespace(device=torch.device(f"cuda:{layer}"))

    devices = sequence.solve_devices(Divided(), [0, 1], solve_on)
    assert [device.type for device in devices.values()] == [where, where]
    assert sequence.solve_devices(tiny.model("llama"), [1], solve_on) == {1: torch.device("cpu")}


@pytest.mark.parametrize("kind", ["gemma2", "gptj", "opt", "phi3"])
def test_targets_and_keys_there_are_those_here(kind, requests, templates):
    options = parse("memit", steps=3).edit
    found = []
    for far in (False, True):
        with SecondDevice():
            lm = far_model(kind) if far else tiny.model(kind)
            shift = targets.optimise(lm, requests[:2], templates, options).shift
            found.append((shift, keys.collect(lm, requests[:2], templates, [1, 2]).keys[2]))
    for here, there in zip(*found, strict=True):
        assert torch.allclose(there, here, atol=1e-4 * float(here.abs().max()))


def test_statistics_scores_and_texts_there_are_those_here(requests):
    windows = np.random.default_rng(0).integers(1, 300, size=(6, 12)).astype(np.int32)
    pairs = [(request.text, request.target_new) for request in requests[:3]]
    options = parse("memit", steps=2).edit
    found = []
    for far in (False, True):
        with SecondDevice():
            lm = far_model() if far else tiny.model()
            sums, _ = second_moments.accumulate(lm, windows, [1], False)
            generator = torch.Generator().manual_seed(0)
            drawn = sampling.sample(lm, torch.tensor([[5], [6]]), 4, generator)
            scores = layer_choice.first_order_scores(lm, requests[:2])
            found.append(
                {
                    "moment": sums[1],
                    "scores": torch.tensor(
                        [score.logprob for score in prompt_scores.score_targets(lm, pairs)]
                    ),
                    "answers": prompt_scores.generate(lm, [pairs[0][0]], tokens=3),
                    "drawn": drawn.tolist(),
                    "layers": scores["output"],
                    "norms": torch.tensor(anchors.pilot_norms(lm, requests[:2], options)),
                }
            )
    here, there = found
    for name, expected in here.items():
        if isinstance(expected, torch.Tensor):
            near = torch.allclose(there[name].cpu(), expected, atol=1e-4, rtol=1e-4)
            assert near, name
        else:
            assert there[name] == expected, name


def test_the_host_does_not_wait_at_every_step(requests, templates):
    """Ten more steps are two more checks."""
    waits = []
    for steps in (5, 15):
        with SecondDevice() as device:
            lm = far_model()
            options = parse("memit", steps=steps, stop_loss=0.0).edit
            device.waits.clear()
            found = targets.optimise(lm, requests[:2], templates, options)
            waits.append(device.waits.total())
        assert found.steps == [steps, steps]
    assert waits[1] - waits[0] <= 8


def test_requests_that_finish_between_checks_keep_what_they_had(requests, templates):
    loss = targets.optimise(tiny.model(), requests, templates, parse("memit", steps=4).edit).loss
    options = parse("memit", steps=12, stop_loss=sorted(loss)[2]).edit
    here = targets.optimise(tiny.model(), requests, templates, options)
    assert len(set(here.steps)) > 1
    with SecondDevice():
        there = targets.optimise(far_model(), requests, templates, options)
    assert there.steps == here.steps
    assert there.loss == pytest.approx(here.loss, rel=1e-4)
    assert torch.allclose(there.shift, here.shift, atol=1e-3 * float(here.shift.abs().max()))
