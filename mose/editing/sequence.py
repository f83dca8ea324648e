"""The sequential loop: batches of requests are written into layer editors and model."""

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
from mose.linalg import second_moment
from mose.linalg.orthogonal import on_sphere
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import ClosedFormEditor, GradientEditor, LayerEditor
from mose.methods.editors import make_editor
from mose.methods.options import TargetOptions, TrainedOptions, Variant
from mose.models import post_norms
from mose.models.causal_lm import CausalLM
from mose.progress import track
from mose.statistics import keys as keys_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """How the edit of one request went: the columns of the checkpoint's record.

    order: place in the sequence; batch: number of its batch; steps: loss evaluations; loss: the
    last one, nats. attained: projection of the change at the last edited layer on the wanted
    residual, over the residual's length (1: fully written); None for trained methods, which have no
    residual. seconds: its own optimisation, and an equal share of the batch's update.
    """

    order: int
    request: str
    batch: int
    steps: int
    loss: float
    attained: float | None
    seconds: float


# Of one request: steps, loss, attained, seconds.
RequestOutcome = tuple[int, float, float | None, float]


@dataclass
class State:
    """A sequence of edits so far: their number, one editor per layer, and the record.

    parent: digest of the checkpoint that the state was read from, or empty.
    """

    editors: dict[int, LayerEditor]
    edits: int = 0
    diagnoses: list[Diagnosis] = field(default_factory=list)
    parent: str = ""


def make_editors(
    weights: Mapping[int, Tensor], moments: Mapping[int, SecondMoment], variant: Variant
) -> dict[int, LayerEditor]:
    """New editors of the variant's layers.

    weights: unedited (d_out, d_in) by layer; editors keep copies, so the model's own may be passed.
    moments: second moments by layer; may be empty for methods that use none.
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


def new_state(
    weights: Mapping[int, Tensor],
    variant: Variant,
    corpus: Callable[[], Mapping[int, SecondMoment]],
) -> State:
    """State without edits.

    weights: as in `make_editors`. corpus: returns the corpus' second moments by layer; called only
    for a variant that uses them.
    """
    moments: Mapping[int, SecondMoment] = {}
    if uses_corpus(variant):
        moments = corpus()
    elif isinstance(variant.edit, TargetOptions):
        moments = {
            layer: second_moment.identity(weights[layer].shape[1]) for layer in variant.edit.layers
        }
    return State(make_editors(weights, moments, variant))


def uses_corpus(variant: Variant) -> bool:
    """Whether a variant uses second moments of a corpus; trained methods use none."""
    options = variant.edit
    return isinstance(options, TargetOptions) and options.second_moment == "corpus"


def put_into(lm: CausalLM, state: State, measured: bool = False) -> None:
    """Write the state's weights into the model; measured: those for measuring (PRUNE)."""
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
    """Continue from `state` (already in the model) to `last` edits, in batches.

    requests: the whole fixed order; those from state.edits on are written.
    after_batch: called after each batch with the place of its first request and its requests.
    Raises ConfigError or RequestError for wrong arguments, before anything is written;
    NumericalError, which names the batch's requests, for a numerical failure.
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
    """Raise ConfigError unless edits < last <= requests and batch >= 1."""
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
    loss = f"mean loss {np.mean([d.loss for d in diagnoses]):.3f}"
    attained = [d.attained for d in diagnoses if d.attained is not None]
    return f"{loss}, mean attained {np.mean(attained):.3f}" if attained else loss


def write_batch(
    lm: CausalLM,
    editors: Mapping[int, LayerEditor],
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> list[RequestOutcome]:
    """Write one batch into editors and model; returns a RequestOutcome per request.

    Raises ConfigError or RequestError for wrong editors or requests.
    """
    check_requests(requests)
    options = variant.edit
    size = 1 if options.ONE_BY_ONE else len(requests)
    groups = [requests[start : start + size] for start in range(0, len(requests), size)]
    if isinstance(options, TrainedOptions):
        trained = {i: e for i, e in editors.items() if isinstance(e, GradientEditor)}
        _check_editors(trained, variant)
        return [outcome for group in groups for outcome in _train(lm, trained, options, group)]
    if not isinstance(options, TargetOptions):
        raise TypeError(f"{variant.method}: no way to write its updates")
    closed = {i: e for i, e in editors.items() if isinstance(e, ClosedFormEditor)}
    _check_editors(closed, variant)
    outcomes: list[RequestOutcome] = []
    for group in groups:
        outcomes += _write(_Group(lm, closed, options, group, templates))
    for layer, editor in closed.items():
        if editor.finish():
            lm.write(layer, editor.weight)
    return outcomes


def _check_editors(usable: Collection[int], variant: Variant) -> None:
    """Raise ConfigError for a layer of the variant that has no usable editor."""
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
) -> list[RequestOutcome]:
    """Train the editors on requests and write their weights into the model."""
    started = time.perf_counter()
    steps, losses = training.train(lm, editors, requests, options)
    for layer, editor in editors.items():
        lm.write(layer, editor.weight)
    share = (time.perf_counter() - started) / len(requests)
    return [(steps, loss, None, share) for loss in losses]


@dataclass(frozen=True)
class _Group:
    """Requests that a closed-form method writes at once, and what it writes them with."""

    lm: CausalLM
    editors: Mapping[int, ClosedFormEditor]
    options: TargetOptions
    requests: Sequence[EditRequest]
    templates: Sequence[str]

    def collect(self, layers: Sequence[int]) -> keys_of.Keys:
        """Keys and hidden states of the requests in the present model."""
        mean = self.options.TEMPLATE_MEAN
        return keys_of.collect(self.lm, self.requests, self.templates, layers, template_mean=mean)

    def update(
        self, layer: int, keys: Tensor, residuals: Tensor, prompt_keys: Tensor | None = None
    ) -> None:
        """Write a layer's residuals into its editor and the model."""
        editor = self.editors[layer]
        editor.update(keys, residuals, prompt_keys)
        self.lm.write(layer, editor.weight)


def _write(group: _Group) -> list[RequestOutcome]:
    """Optimise the value targets of a group and write them at once."""
    options = group.options
    optimised = targets.optimise(group.lm, group.requests, group.templates, options)
    started = time.perf_counter()
    write = _write_free if options.target_space == "free" else _write_reachable
    attained = write(group, optimised.shift.mT)
    share = (time.perf_counter() - started) / len(group.requests)
    return [
        (steps, loss, float(fraction), seconds + share)
        for steps, loss, fraction, seconds in zip(
            optimised.steps, optimised.loss, attained, optimised.seconds, strict=True
        )
    ]


def _write_free(group: _Group, shift: Tensor) -> Tensor:
    """Write free targets, spread over the layers; returns the attained fractions (n,).

    As MEMIT and the authors of MOSE do: each layer in turn writes the residual at the last layer's
    output, divided by the number of layers left. Keys and residual are those of the model as edited
    so far. Where a norm follows the projection (`mose.models.post_norms`), the shift passes through
    it to the block's output, and each layer's share back through its own; else both are the same.
    shift: (d_out, n), the wanted change of the last edited projection's output.
    """
    lm, layers = group.lm, group.options.layers
    last = layers[-1]
    before = present = group.collect(layers)
    value = post_norms.values_of(lm, last, before.prompt_keys[last])
    change = post_norms.through(lm, last, value.mT, shift.mT).mT.to(torch.float64)
    wanted = before.prompt_hidden + change
    for done, layer in enumerate(layers):
        if done:
            present = group.collect(sorted({layer, last}))
        share = (wanted - present.prompt_hidden) / (len(layers) - done)
        prompt_keys = present.prompt_keys[layer]
        lengths = torch.linalg.vector_norm(value + shift, dim=0) if layer == last else None
        residuals = post_norms.pulled_back(lm, layer, prompt_keys, share, lengths)
        group.update(layer, present.keys[layer], residuals, prompt_keys)
    after = group.collect([last])
    return attained_fraction(after.mean_hidden() - before.mean_hidden(), change)


def _write_reachable(group: _Group, shift: Tensor) -> Tensor:
    """Write reachable targets of one layer; returns the attained fractions (n,).

    shift: (d_out, n) or (d_in, n), moves the mean value or key along its sphere.
    """
    (layer,) = group.options.layers
    editor = group.editors[layer]
    on_values = group.options.target_space == "value"
    keys = group.collect([layer]).keys[layer]
    before = editor.weight.to(torch.float64)
    origin = before @ keys if on_values else keys
    residuals = on_sphere(origin.mT, shift.mT).mT - origin
    wanted = residuals if on_values else before @ residuals
    group.update(layer, keys, residuals)
    return attained_fraction((editor.weight.to(torch.float64) - before) @ keys, wanted)


def attained_fraction(change: Tensor, wanted: Tensor) -> Tensor:
    """Projection of `change` on `wanted` over the length of `wanted`, per column: (n,)."""
    return (change * wanted).sum(0) / (wanted**2).sum(0).clamp(min=torch.finfo(wanted.dtype).tiny)


def _listed(layers: Collection[int]) -> str:
    return f"layers {', '.join(map(str, sorted(layers)))}" if layers else "no layer"
