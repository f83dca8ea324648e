"""One batch of requests, written into layer editors and model."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mose.editing import signals, targets, training
from mose.editing.in_context import as_asked
from mose.editing.spreading import (
    Group,
    Outputs,
    attained_fraction,
    collect_before,
    spread,
    wanted_outputs,
)
from mose.errors import ConfigError
from mose.facts.requests import EditRequest, check_requests
from mose.linalg.orthogonal import on_sphere
from mose.methods.base import ClosedFormEditor, GradientEditor, LayerEditor, SignalEditor
from mose.methods.context_options import InContextOptions
from mose.methods.options import AdditiveOptions, TargetOptions, Variant
from mose.methods.signal_options import SignalOptions
from mose.methods.trained_options import TrainedOptions
from mose.models.causal_lm import CausalLM
from mose.models.tokens import encode_pair
from mose.statistics import keys as keys_of


class RequestOutcome(NamedTuple):
    """How one request was written.

    steps: loss evaluations; loss: the last one, nats; attained: as in `Diagnosis`; seconds: its own
    optimisation, and an equal share of the update. wanted: the output (d,) float32 of block
    `options.target_layer` that was wanted at the subject's last token of the bare prompt; None for
    reachable targets, several of them (spread: each), and methods without value targets.
    """

    steps: int
    loss: float
    attained: float | None
    seconds: float
    wanted: Tensor | None = None


class FoundTarget(NamedTuple):
    """The target of a request, sought beforehand; as in RequestOutcome, seconds of the search."""

    steps: int
    loss: float
    seconds: float
    wanted: Tensor


def write_batch(
    lm: CausalLM,
    editors: Mapping[int, LayerEditor],
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    found: Sequence[FoundTarget] | None = None,
) -> list[RequestOutcome]:
    """Write one batch into editors and model; returns a RequestOutcome per request.

    found: the requests' targets, for methods that write a batch at once; None: they are sought on
    the present model. Raises ConfigError or RequestError for wrong editors or requests.
    """
    check_requests(requests)
    options = variant.edit
    size = 1 if options.ONE_BY_ONE else len(requests)
    groups = [requests[start : start + size] for start in range(0, len(requests), size)]
    if isinstance(options, TrainedOptions):
        trained = {i: e for i, e in editors.items() if isinstance(e, GradientEditor)}
        _check_editors(trained, variant)
        return [outcome for group in groups for outcome in _train(lm, trained, options, group)]
    if isinstance(options, SignalOptions):
        seeing = {i: e for i, e in editors.items() if isinstance(e, SignalEditor)}
        _check_editors(seeing, variant)
        return _write_signals(lm, seeing, options, requests)
    if isinstance(options, InContextOptions):
        return [_read(lm, request) for request in as_asked(variant, requests)]
    if not isinstance(options, TargetOptions):
        raise TypeError(f"{variant.method}: no way to write its updates")
    closed = {i: e for i, e in editors.items() if isinstance(e, ClosedFormEditor)}
    _check_editors(closed, variant)
    outcomes: list[RequestOutcome] = []
    for members in groups:
        group = Group(lm, closed, options, members, templates)
        outcomes += _write(group) if found is None else _write_found(group, found)
    _finish(lm, closed)
    return outcomes


def write_wanted(
    lm: CausalLM,
    editors: Mapping[int, LayerEditor],
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    wanted: Tensor,
) -> Tensor:
    """Write requests whose wanted outputs are known, all at once; attained fractions (n,).

    The model has the editors' weights. wanted: (d, n), columns as in RequestOutcome.
    Raises ConfigError or RequestError for wrong editors or requests.
    """
    check_requests(requests)
    options = variant.edit
    closed = {i: e for i, e in editors.items() if isinstance(e, ClosedFormEditor)}
    _check_editors(closed, variant)
    if not isinstance(options, TargetOptions) or options.target_space != "free":
        raise TypeError(f"{variant.method}: its targets are not wanted outputs")
    group = Group(lm, closed, options, requests, templates)
    before = collect_before(group)
    wide = wanted.to(torch.float64)
    attained = spread(group, before, Outputs(wide, wide - before.prompt_hidden))
    _finish(lm, closed)
    return attained


def _finish(lm: CausalLM, editors: Mapping[int, ClosedFormEditor]) -> None:
    for layer, editor in editors.items():
        if editor.finish():
            lm.write(layer, editor.weight)


def _check_editors(usable: Collection[int], variant: Variant) -> None:
    """Raise ConfigError for a layer of the variant that has no usable editor."""
    missing = [layer for layer in variant.edit.layers if layer not in usable]
    if missing:
        raise ConfigError(
            f"editors: {variant.method} needs one of its own kind for layer {missing[0]}, found "
            f"such for {listed(usable)}; make them of this variant (make_editors)"
        )


def _train(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    options: TrainedOptions,
    requests: Sequence[EditRequest],
) -> list[RequestOutcome]:
    """Train the editors on requests and write their weights into the model."""
    started = time.perf_counter()
    steps, losses = training.train(lm, editors, requests, options)
    for layer, editor in editors.items():
        lm.write(layer, editor.weight)
    share = (time.perf_counter() - started) / len(requests)
    return [RequestOutcome(steps, loss, None, share) for loss in losses]


def _write_signals(
    lm: CausalLM,
    editors: Mapping[int, SignalEditor],
    options: SignalOptions,
    requests: Sequence[EditRequest],
) -> list[RequestOutcome]:
    """Write requests by the keys and gradients at their answers' tokens, all at once."""
    started = time.perf_counter()
    found = signals.collect(lm, requests, options)
    signals.check(found)
    for layer in options.layers:
        for editor in editors.values():
            editor.observe(found.keys[layer], found.gradients[layer])
    for layer in options.layers:
        editors[layer].update(found.keys[layer], found.gradients[layer])
        lm.write(layer, editors[layer].weight)
    share = (time.perf_counter() - started) / len(requests)
    return [RequestOutcome(1, loss, None, share) for loss in found.losses]


@torch.no_grad()
def _read(lm: CausalLM, asked: EditRequest) -> RequestOutcome:
    """The loss of a request that is stated before its prompt; nothing is written."""
    started = time.perf_counter()
    row = encode_pair(lm.tokenizer, asked.text, asked.target_new)
    loss = float(training.losses_of(lm, {}, [row]))
    return RequestOutcome(1, loss, None, time.perf_counter() - started)


def _write(group: Group) -> list[RequestOutcome]:
    """Optimise the value targets of a group and write them at once."""
    if group.options.spread == "each":
        return _write_each(group)
    return _write_sought(group)


def _write_each(group: Group) -> list[RequestOutcome]:
    """Seek and write the targets of each layer in turn.

    The outcome's steps and seconds are of all layers together; the rest is the last layer's, but
    for the wanted output: the ledger has room for one.
    """
    layers = group.options.layers
    by_layer = [
        _write_sought(replace(group, options=replace(group.options, layers=(layer,))))
        for layer in layers
    ]
    return [
        RequestOutcome(
            sum(outcome.steps for outcome in of_request),
            of_request[-1].loss,
            of_request[-1].attained,
            sum(outcome.seconds for outcome in of_request),
            of_request[-1].wanted if len(layers) == 1 else None,
        )
        for of_request in zip(*by_layer, strict=True)
    ]


def _write_sought(group: Group) -> list[RequestOutcome]:
    """Seek the targets of a group at one layer, and write them."""
    options = group.options
    optimised = targets.optimise(group.lm, group.requests, group.templates, options)
    started = time.perf_counter()
    wanted: Sequence[Tensor | None] = [None] * len(group.requests)
    if options.target_space == "free":
        before = collect_before(group)
        outputs = wanted_outputs(group.lm, options, before, optimised.shift.mT)
        attained = spread(group, before, outputs)
        wanted = list(outputs.wanted.mT.to(torch.float32))
    else:
        attained = _write_reachable(group, optimised.shift.mT)
    share = (time.perf_counter() - started) / len(group.requests)
    return [
        RequestOutcome(steps, loss, float(fraction), seconds + share, output)
        for steps, loss, fraction, seconds, output in zip(
            optimised.steps, optimised.loss, attained, optimised.seconds, wanted, strict=True
        )
    ]


def find_wanted(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    options: TargetOptions,
) -> list[FoundTarget]:
    """The free targets of requests in the present model, as wanted outputs.

    Raises ConfigError for targets of a given length where a norm follows the projection: the output
    of such a block does not say the length.
    """
    lengthless = lm.post_norm(options.target_layer) is not None
    if lengthless and isinstance(options, AdditiveOptions) and options.targets != "free":
        raise ConfigError(
            f"targets: found {options.targets} with targets of the unedited model, which are kept "
            "as the block's outputs; of this model's blocks, which have a norm behind the MLP, "
            "these do not say a length; set targets_from: present"
        )
    optimised = targets.optimise(lm, requests, templates, options)
    before = keys_of.collect(
        lm, requests, templates, [options.target_layer], template_mean=options.TEMPLATE_MEAN
    )
    outputs = wanted_outputs(lm, options, before, optimised.shift.mT)
    columns = outputs.wanted.mT.to(torch.float32)
    return [
        FoundTarget(*values)
        for values in zip(optimised.steps, optimised.loss, optimised.seconds, columns, strict=True)
    ]


def _write_found(group: Group, found: Sequence[FoundTarget]) -> list[RequestOutcome]:
    """Write targets that are known."""
    started = time.perf_counter()
    before = collect_before(group)
    wanted = torch.stack([target.wanted for target in found], dim=1).to(torch.float64)
    attained = spread(group, before, Outputs(wanted, wanted - before.prompt_hidden))
    share = (time.perf_counter() - started) / len(group.requests)
    return [
        RequestOutcome(
            target.steps, target.loss, float(fraction), target.seconds + share, target.wanted
        )
        for target, fraction in zip(found, attained, strict=True)
    ]


def _write_reachable(group: Group, shift: Tensor) -> Tensor:
    """Write reachable targets of one layer; returns the attained fractions (n,).

    shift: (d_out, n) or (d_in, n), moves the mean value or key along its sphere.
    """
    (layer,) = group.options.layers
    editor = group.editors[layer]
    on_values = group.options.target_space == "value"
    keys = group.prompts.collect([layer]).keys[layer]
    before = editor.weight.to("cpu", torch.float64)
    origin = before @ keys if on_values else keys
    residuals = on_sphere(origin.mT, shift.mT).mT - origin
    wanted = residuals if on_values else before @ residuals
    group.update(layer, keys, residuals)
    return attained_fraction((editor.weight.to("cpu", torch.float64) - before) @ keys, wanted)


def listed(layers: Collection[int]) -> str:
    return f"layers {', '.join(map(str, sorted(layers)))}" if layers else "no layer"
