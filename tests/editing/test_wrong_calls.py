"""Wrong arguments of the library's functions end in one line: what was found, what is expected,
what to do."""

import dataclasses

import pytest
import tiny
import torch
from sequences import parse, second_moments_of

from mose.editing import layer_choice, sequence, signals, targets, training, writing
from mose.errors import ConfigError, MoseError, NumericalError, RequestError
from mose.facts.requests import EditRequest, check_requests, check_templates
from mose.methods.editors import make_editor
from mose.statistics import keys, second_moments

IDS = torch.ones(1, 3, dtype=torch.int64)
CONTEXTS = ["{}", "I said. {}"]
OUT_OF_RANGE = ["layer {}", "the model has layers 0 to 3", "take"]
NO_TEMPLATE = ["templates: found none", "expected", "exactly one {}", '"{}"']
NO_REQUEST = ["requests: found none", "expected", "EditRequest", "give"]


class World:
    """What calls are made with: a model, a variant, its fresh state, and right arguments."""

    def __init__(self, requests, method="memit"):
        self.requests = requests
        self.variant = parse(method, steps=2)
        self.options = self.variant.edit
        self.lm = tiny.model()
        self.layers = self.variant.edit.layers
        self.weights = {layer: self.lm.weight(layer) for layer in self.layers}
        self.moments = second_moments_of("llama")
        self.editors = sequence.make_editors(self.weights, self.moments, self.variant)
        self.state = sequence.State(self.editors)

    def run(self, **changed):
        call = {
            "variant": self.variant, "requests": self.requests, "templates": CONTEXTS, "batch": 2,
            "last": 2, **changed,
        }  # fmt: skip
        sequence.run(self.lm, self.state, **call)

    def optimise(self, requests=None, templates=CONTEXTS, layers=(1,)):
        options = dataclasses.replace(self.options, layers=layers)
        targets.optimise(
            self.lm, self.requests if requests is None else requests, templates, options
        )

    def collect(self, requests=None, templates=CONTEXTS, layers=(1,)):
        keys.collect(self.lm, self.requests if requests is None else requests, templates, layers)


def layers_that_are_not_there(layer):
    said = [part.format(layer) for part in OUT_OF_RANGE]
    # Options refuse a layer below 0 themselves; what is above the model's only the model knows.
    of_options = ["layers[0]: found -1, expected a whole number of at least 0"]
    return {
        f"weight of layer {layer}": (lambda w: w.lm.weight(layer), ConfigError, said),
        f"projection of layer {layer}": (lambda w: w.lm.projection(layer), ConfigError, said),
        f"a weight written to layer {layer}": (
            lambda w: w.lm.write(layer, w.lm.weight(1)), ConfigError, said,
        ),
        f"a pass up to layer {layer}": (
            lambda w: w.lm.truncated(IDS, IDS, [1, layer]), ConfigError, said,
        ),
        f"targets at layer {layer}": (
            lambda w: w.optimise(layers=(layer,)),
            ConfigError,
            of_options if layer < 0 else ["layers: ", *said],
        ),
        f"keys of layer {layer}": (
            lambda w: w.collect(layers=[layer]), ConfigError, ["layers: ", *said],
        ),
        f"second moments of layer {layer}": (
            lambda w: second_moments.accumulate(w.lm, IDS.numpy(), [layer], False),
            ConfigError,
            said,
        ),
        f"editors of layer {layer}": (
            lambda w: sequence.make_editors(w.weights, w.moments, parse("memit", layers=[layer])),
            ConfigError,
            of_options
            if layer < 0
            else ["layers: ", f"edits layer {layer}", "layers 1, 2", "pass the weight"],
        ),
    }  # fmt: skip


def wrong_templates(templates, said):
    return {
        f"{name} with the templates {templates}": (call(templates), RequestError, said)
        for name, call in {
            "run": lambda t: lambda w: w.run(templates=t),
            "targets": lambda t: lambda w: w.optimise(templates=t),
            "keys": lambda t: lambda w: w.collect(templates=t),
            "check": lambda t: lambda w: check_templates(t),
        }.items()
    }


def wrong_requests(requests, said):
    return {
        f"{name} with the requests {requests}": (call, RequestError, said)
        for name, call in {
            "run": lambda w: w.run(requests=requests),
            "a batch": lambda w: writing.write_batch(
                w.lm, w.editors, w.variant, requests, CONTEXTS
            ),
            "targets": lambda w: w.optimise(requests=requests),
            "keys": lambda w: w.collect(requests=requests),
            "training": lambda w: training.train(w.lm, {}, requests, parse("ft").edit),
            "layer scores": lambda w: layer_choice.first_order_scores(w.lm, requests),
            "check": lambda w: check_requests(requests),
        }.items()
    }


def without_moments(method):
    said = [f"second moments: {method} needs", "found none", "pass it", "moments.load"]
    variant = parse(method)

    def one(w):
        make_editor(w.lm.weight(1), None, variant)

    def all_layers(w):
        weights = {layer: w.lm.weight(layer) for layer in variant.edit.layers}
        sequence.make_editors(weights, {}, variant)

    return {
        f"an editor of {method} without second moments": (one, ConfigError, said),
        f"editors of {method} without second moments": (
            all_layers, ConfigError, [f"layer {variant.edit.layers[0]}: ", *said],
        ),
    }  # fmt: skip


def after_two_edits(w, last):
    w.state.edits = 2
    w.run(last=last)


CALLS = {
    **layers_that_are_not_there(99),
    **layers_that_are_not_there(-1),
    "a pass up to no layer": (
        lambda w: w.lm.truncated(IDS, IDS, []), ConfigError, ["layers: found none", "0 to 3"],
    ),
    "a layer that is no number": (
        lambda w: w.lm.weight("1"), ConfigError, ["layer '1'", "the model has layers 0 to 3"],
    ),
    "a weight of another shape": (
        lambda w: w.lm.write(1, torch.ones(1, 48)), ConfigError,
        ["layer 1", "found (1, 48)", "expected (32, 48)"],
    ),
    **without_moments("memit"),
    **without_moments("mose"),
    **without_moments("rome"),
    **without_moments("alphaedit"),
    **wrong_templates([], NO_TEMPLATE),
    **wrong_templates(
        ["{}", "Because."], ["templates: ", "place 1", "'Because.'", "exactly one {}"]
    ),
    **wrong_templates(["{}", "{} {}"], ["templates: ", "place 1", "'{} {}'", "exactly one {}"]),
    **wrong_templates("{}", ["templates: found '{}'", "expected a list"]),
    **wrong_templates([None], ["templates: found None", "place 0", "exactly one {}"]),
    **wrong_requests([], NO_REQUEST),
    **wrong_requests(["France", "Italy"], ["requests: found str at place 0", "EditRequest"]),
    **wrong_requests(
        [{"subject": "France"}] * 2, ["requests: found dict at place 0", "EditRequest"]
    ),
    **wrong_requests(
        EditRequest("1", "France", "{} has the capital", "Rome"),
        ["requests: found EditRequest", "expected a list"],
    ),
    "more edits than requests": (
        lambda w: w.run(last=9), ConfigError,
        ["last: found 9", "at most 6", "requests", "lower"],
    ),
    "as many edits as there are": (
        lambda w: after_two_edits(w, 2), ConfigError,
        ["last: found 2", "more than 2", "the state"],
    ),
    "fewer edits than there are": (
        lambda w: after_two_edits(w, 1), ConfigError,
        ["last: found 1", "more than 2", "the state"],
    ),
    "no edit": (lambda w: w.run(last=0), ConfigError, ["last: found 0", "more than 0"]),
    "batches of none": (lambda w: w.run(batch=0), ConfigError, ["batch: found 0", "1 or more"]),
    "batches of less": (lambda w: w.run(batch=-1), ConfigError, ["batch: found -1", "1 or more"]),
    "batches of half": (lambda w: w.run(batch=0.5), ConfigError, ["batch: found 0.5", "1 or more"]),
    "editors of another variant's layers": (
        lambda w: w.run(variant=parse("memit", layers=[3])), ConfigError,
        ["memit", "layer 3", "layers 1, 2", "make_editors"],
    ),
    "editors of another kind of method": (
        lambda w: w.run(variant=parse("ft")), ConfigError, ["ft", "layer 1", "make_editors"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_one_line_that_says_what_to_do(name, requests):
    call, kind, said = CALLS[name]
    world = World(requests)
    with pytest.raises(kind) as caught:
        call(world)
    message = str(caught.value)
    assert "\n" not in message
    for words in said:
        assert words in message
    assert issubclass(kind, MoseError)
    # Nothing was written on the way.
    for layer in world.layers:
        assert torch.equal(world.lm.weight(layer), tiny.model().weight(layer))


@pytest.mark.parametrize("method", ["ft", "oft"])
def test_methods_that_are_trained_need_neither_templates_nor_second_moments(method, requests):
    variant = parse(method, steps=1)
    lm = tiny.model()
    weights = {layer: lm.weight(layer) for layer in variant.edit.layers}
    state = sequence.State(sequence.make_editors(weights, {}, variant))
    sequence.run(lm, state, variant, requests, [], 2, 2)
    assert state.edits == 2


NOT_FINITE = {
    "nan": float("nan"),
    "an infinity": float("inf"),
    "more than the number format holds": 1e39,
}


@pytest.mark.parametrize("entry", NOT_FINITE)
def test_a_weight_that_is_not_finite_is_not_written(entry):
    lm = tiny.model()
    before = lm.weight(1).clone()
    weight = before.double()
    weight[2, 3] = NOT_FINITE[entry]
    with pytest.raises(
        NumericalError, match=r"weight of layer 1: NaN or infinite in torch\.float32"
    ):
        lm.write(1, weight)
    assert torch.equal(lm.weight(1), before)


@pytest.mark.parametrize("method", ["memit", "ultraedit"])
def test_an_update_that_is_not_finite_names_its_layer_and_is_not_written(
    requests, method, monkeypatch
):
    world = World(requests, method)
    layer = world.layers[0]
    before = world.lm.weight(layer).clone()
    editor = world.editors[layer]
    spoilt = torch.full_like(before, torch.nan)
    monkeypatch.setattr(type(editor), "weight", property(lambda _: spoilt))
    with pytest.raises(NumericalError, match=rf"edits 1 to 2 .*weight of layer {layer}: NaN"):
        world.run()
    assert torch.equal(world.lm.weight(layer), before)


def test_a_system_that_cannot_be_solved_names_its_layer(requests, monkeypatch):
    world = World(requests)
    layer = world.layers[0]

    def fail(*_):
        raise torch.linalg.LinAlgError("the matrix\nis singular")

    monkeypatch.setattr(type(world.editors[layer]), "delta", fail)
    with pytest.raises(NumericalError, match=rf"edits 1 to 2 .*layer {layer}: the matrix is sing"):
        world.run()


@pytest.mark.parametrize("what", ["keys", "gradients"])
def test_signals_that_are_not_finite_enter_no_running_mean(requests, what, monkeypatch):
    world = World(requests, "ultraedit")
    collect, layer = signals.collect, world.layers[-1]

    def spoilt(*arguments):
        found = collect(*arguments)
        getattr(found, what)[layer][0, 0] = torch.nan
        return found

    monkeypatch.setattr(signals, "collect", spoilt)
    with pytest.raises(NumericalError, match=rf"layer {layer}: a {what[:3]}.* is NaN or infinite"):
        world.run()
    assert all(int(editor.state()["count"]) == 0 for editor in world.editors.values())
