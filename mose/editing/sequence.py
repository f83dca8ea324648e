"""The sequential loop: batches of requests written one after another, and its checkpoints.

A checkpoint is the state after n edits: per edited layer what the method needs to restore the
edited weight and to go on, a record of every request so far, and the digests that tie it to its
model, second moments, requests, templates, options and parent.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mose.editing import targets, training
from mose.errors import ConfigError, NumericalError, shortened
from mose.facts.requests import EditRequest, check_requests
from mose.linalg.orthogonal import on_sphere
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor, GradientEditor, LayerEditor
from mose.methods.editors import make_editor
from mose.methods.options import TargetOptions, TrainedOptions, Variant
from mose.models.causal_lm import CausalLM
from mose.progress import track
from mose.statistics import keys as keys_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """What became of one request: the columns of the checkpoint's record.

    order: place in the sequence; batch: its batch; steps: loss evaluations; loss: the last one.
    attained: projection of the change at the last edited layer on the residual asked for, over
    the residual's length (1: fully written); None for methods that are trained, and ask for none.
    seconds: time spent on it, its batch's update divided evenly.
    """

    order: int
    request: str
    batch: int
    steps: int
    loss: float
    attained: float | None
    seconds: float


# Of one request: steps, loss, attained, seconds.
Outcome = tuple[int, float, float | None, float]


@dataclass
class State:
    """Where a sequence stands: how many edits, one editor per layer, and the record so far."""

    editors: dict[int, LayerEditor]
    edits: int = 0
    diagnoses: list[Diagnosis] = field(default_factory=list)
    parent: str = ""


def make_editors(
    weights: Mapping[int, Tensor], moments: Mapping[int, SecondMoment], variant: Variant
) -> dict[int, LayerEditor]:
    """Editors of the variant's layers, which own copies of what they are made from.

    weights: the unedited (d_out, d_in) by layer; the model's own may be passed.
    moments: by layer; none are needed for methods that use none.
    Raises ConfigError for a layer without a weight, or without a second moment that it needs.
    """
    editors = {}
    for layer in variant.edit.layers:
        if layer not in weights:
            raise ConfigError(
                f"layers: {variant.method} edits layer {layer}, and weights were given of "
                f"{_listed(weights)} only; pass the weight of every layer in `layers`"
            )
        try:
            editors[layer] = make_editor(weights[layer], moments.get(layer), variant)
        except ConfigError as error:
            raise ConfigError(f"layer {layer}: {error}") from None
    return editors


def put_into(lm: CausalLM, state: State, measured: bool = False) -> None:
    """Let the model run with the state's weights: to go on from, or to be `measured`."""
    for layer, editor in state.editors.items():
        lm.write(layer, editor.measured if measured else editor.weight)


def run(
    lm: CausalLM,
    state: State,
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    batch: int,
    last: int,
    after_batch: Callable[[int, Sequence[EditRequest]], None] = lambda *_: None,
) -> None:
    """Go on from `state` (already in the model) to `last` edits, in batches.

    requests: the whole fixed order; those from state.edits on are written.
    after_batch: called with the first request's place and the batch, right after it is written.
    Raises ConfigError or RequestError, before anything is written, for arguments that cannot be
    used; NumericalError, naming the batch's requests, for one whose result cannot be trusted.
    """
    check_requests(requests)
    _check_span(state.edits, len(requests), batch, last)
    starts = range(state.edits, last, batch)
    for start in track(starts, "editing batches"):
        members = requests[start : min(start + batch, last)]
        try:
            diagnoses = write_batch(lm, state.editors, variant, members, templates)
        except NumericalError as error:
            named = shortened(", ".join(member.id for member in members))
            where = f"edits {start + 1} to {start + len(members)} ({named})"
            raise NumericalError(f"{where}: {error}") from None
        for place, values in enumerate(diagnoses):
            state.diagnoses.append(
                Diagnosis(start + place, members[place].id, start // batch, *values)
            )
        state.edits = start + len(members)
        logger.info("%d edits: %s", state.edits, _means(state.diagnoses[start:]))
        after_batch(start, members)


def _check_span(edits: int, requests: int, batch: int, last: int) -> None:
    """Refuse batches and an end that `edits` written and `requests` in all do not allow."""
    if not isinstance(batch, int) or batch < 1:
        raise ConfigError(f"batch: found {batch!r}, expected 1 or more requests; set it to 1")
    if not isinstance(last, int) or last <= edits:
        raise ConfigError(
            f"last: found {last!r}, expected more than {edits}, the edits that the state already "
            "holds; raise it, or start from a fresh state"
        )
    if last > requests:
        raise ConfigError(
            f"last: found {last}, expected at most {requests}, the number of requests; lower it, "
            "or give more requests"
        )


def _means(diagnoses: Sequence[Diagnosis]) -> str:
    said = f"mean loss {np.mean([d.loss for d in diagnoses]):.3f}"
    attained = [d.attained for d in diagnoses if d.attained is not None]
    return f"{said}, mean attained {np.mean(attained):.3f}" if attained else said


def write_batch(
    lm: CausalLM,
    editors: Mapping[int, LayerEditor],
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> list[Outcome]:
    """Write one batch into editors and model; per request (steps, loss, attained, seconds).

    Raises ConfigError or RequestError for editors or requests that cannot be used.
    """
    check_requests(requests)
    options = variant.edit
    size = 1 if options.ONE_BY_ONE else len(requests)
    groups = [requests[start : start + size] for start in range(0, len(requests), size)]
    if isinstance(options, TrainedOptions):
        trained = {la: e for la, e in editors.items() if isinstance(e, GradientEditor)}
        _check_editors(trained, variant)
        return [outcome for group in groups for outcome in _train(lm, trained, options, group)]
    if not isinstance(options, TargetOptions):
        raise TypeError(f"{variant.method}: no way to write its updates")
    closed = {la: e for la, e in editors.items() if isinstance(e, ClosedFormEditor)}
    _check_editors(closed, variant)
    found: list[Outcome] = []
    for group in groups:
        found += _write(lm, closed, options, group, templates)
    for layer, editor in closed.items():
        if editor.finish():
            lm.write(layer, editor.weight)
    return found


def _check_editors(usable: Collection[int], variant: Variant) -> None:
    """Refuse to go on when a layer of the variant is not among those with a usable editor."""
    missing = [layer for layer in variant.edit.layers if layer not in usable]
    if missing:
        raise ConfigError(
            f"editors: {variant.method} needs one of its own kind for layer {missing[0]}, found "
            f"such for {_listed(usable)}; make them of this variant (make_editors)"
        )


def _train(
    lm: CausalLM,
    editors: Mapping[int, GradientEditor],
    options: TrainedOptions,
    requests: Sequence[EditRequest],
) -> list[Outcome]:
    """Train the editors on requests and write them into the model."""
    begun = time.perf_counter()
    steps, loss = training.train(lm, editors, requests, options)
    for layer, editor in editors.items():
        lm.write(layer, editor.weight)
    share = (time.perf_counter() - begun) / len(requests)
    return [(steps, value, None, share) for value in loss]


def _write(
    lm: CausalLM,
    editors: Mapping[int, ClosedFormEditor],
    options: TargetOptions,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> list[Outcome]:
    """Find the requests' value targets and write them all at once."""
    found = targets.optimise(lm, requests, templates, options)
    begun = time.perf_counter()
    write = _spread if options.target_space == "free" else _rotate_to_sphere
    attained = write(lm, editors, options, requests, templates, found.shift.mT)
    share = (time.perf_counter() - begun) / len(requests)
    return [
        (steps, loss, float(part), seconds + share)
        for steps, loss, part, seconds in zip(
            found.steps, found.loss, attained, found.seconds, strict=True
        )
    ]


def _spread(
    lm: CausalLM,
    editors: Mapping[int, ClosedFormEditor],
    options: TargetOptions,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    shift: Tensor,
) -> Tensor:
    """Write free targets over several layers; returns the attained fractions (n,).

    As MEMIT and the authors of MOSE do: at each layer in turn, what is still missing at the last
    layer, divided by the layers left, is asked of this layer; keys and what is missing are taken
    from the model as edited so far.
    shift: (d_out, n), what the last layer's output should change by.
    """
    layers = options.layers
    last = layers[-1]

    def collect(which: Sequence[int]) -> keys_of.Keys:
        return keys_of.collect(lm, requests, templates, which, template_mean=options.TEMPLATE_MEAN)

    before = seen = collect(layers)
    wanted = before.bare + shift
    for done, layer in enumerate(layers):
        if done:
            seen = collect(sorted({layer, last}))
        residuals = (wanted - seen.bare) / (len(layers) - done)
        editors[layer].update(seen.keys[layer], residuals, seen.bare_keys[layer])
        lm.write(layer, editors[layer].weight)
    after = collect([last])
    return attained_fraction(after.mean_hidden() - before.mean_hidden(), shift)


def _rotate_to_sphere(
    lm: CausalLM,
    editors: Mapping[int, ClosedFormEditor],
    options: TargetOptions,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
    shift: Tensor,
) -> Tensor:
    """Write reachable targets of one layer; returns the attained fractions (n,).

    shift: (d_out, n) or (d_in, n), what moves the mean value or key along its sphere.
    """
    (layer,) = options.layers
    editor = editors[layer]
    key = keys_of.collect(lm, requests, templates, [layer]).keys[layer]
    before = editor.weight.to(torch.float64)
    base = before @ key if options.target_space == "value" else key
    residuals = on_sphere(base.mT, shift.mT).mT - base
    wanted = residuals if options.target_space == "value" else before @ residuals
    editor.update(key, residuals)
    lm.write(layer, editor.weight)
    return attained_fraction((editor.weight.to(torch.float64) - before) @ key, wanted)


def attained_fraction(change: Tensor, wanted: Tensor) -> Tensor:
    """Per column, the projection of `change` on `wanted` over the length of `wanted`: (n,)."""
    return (change * wanted).sum(0) / (wanted**2).sum(0).clamp(min=torch.finfo(wanted.dtype).tiny)


def _listed(layers: Collection[int]) -> str:
    return f"layers {', '.join(map(str, sorted(layers)))}" if layers else "no layer"
