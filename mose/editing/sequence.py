"""The sequential loop: batches of requests are written into layer editors and model."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mose.editing.writing import (
    FoundTarget,
    RequestOutcome,
    find_wanted,
    listed,
    write_batch,
    write_wanted,
)
from mose.errors import ConfigError, NumericalError, shortened
from mose.facts.requests import EditRequest, check_requests
from mose.linalg import second_moment
from mose.linalg.second_moment import SecondMoment
from mose.methods.base import LayerEditor
from mose.methods.editors import HOST, make_editor
from mose.methods.options import LedgerOptions, TargetOptions, Variant
from mose.methods.trained_options import TrainedOptions
from mose.models.causal_lm import CausalLM
from mose.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Diagnosis:
    """How the edit of one request went: the columns of the checkpoint's record.

    order: place in the sequence; batch: number of its batch; steps: loss evaluations; loss: the
    last one, nats. attained: projection of the change at the last edited layer on the wanted
    residual, over the residual's length (1: fully written); None for methods without residuals.
    seconds: its own optimisation, and an equal share of the batch's update.
    """

    order: int
    request: str
    batch: int
    steps: int
    loss: float
    attained: float | None
    seconds: float


@dataclass
class State:
    """A sequence of edits so far: their number, one editor per layer, the record and the ledger.

    wanted: the ledger: per edit, the wanted output of the last edited block (`RequestOutcome`).
    fresh: makes editors without edits, for methods that solve again or seek targets on the unedited
    model. parent: digest of the checkpoint that the state was read from, or empty.
    """

    editors: dict[int, LayerEditor]
    edits: int = 0
    diagnoses: list[Diagnosis] = field(default_factory=list)
    wanted: list[Tensor | None] = field(default_factory=list)
    fresh: Callable[[], dict[int, LayerEditor]] | None = None
    parent: str = ""


def make_editors(
    weights: Mapping[int, Tensor],
    moments: Mapping[int, SecondMoment],
    variant: Variant,
    devices: Mapping[int, torch.device] | None = None,
) -> dict[int, LayerEditor]:
    """New editors of the variant's layers.

    weights: unedited (d_out, d_in) by layer; editors keep copies, so the model's own may be passed.
    moments: second moments by layer; may be empty for methods that use none.
    devices: where each layer is solved (`solve_devices`); None: on the host.
    Raises ConfigError for a layer without a weight, or without a second moment that it needs,
    NumericalError for a weight that the method cannot edit.
    """
    editors = {}
    for layer in variant.edit.layers:
        if layer not in weights:
            raise ConfigError(
                f"layers: {variant.method} edits layer {layer}, and weights were given of "
                f"{listed(weights)} only; pass the weight of every layer in `layers`"
            )
        try:
            device = devices[layer] if devices else HOST
            editors[layer] = make_editor(weights[layer], moments.get(layer), variant, device)
        except (ConfigError, NumericalError) as error:
            raise type(error)(f"layer {layer}: {error}") from None
    return editors


def solve_devices(lm: CausalLM, layers: Sequence[int], solve_on: str) -> dict[int, torch.device]:
    """Where each layer is solved. solve_on: model, where a layer's weight is, if that is a GPU with
    float64; or host."""
    places = {layer: lm.weight(layer).device for layer in layers}
    on_gpu = {layer: solve_on == "model" and places[layer].type == "cuda" for layer in layers}
    return {layer: places[layer] if on_gpu[layer] else HOST for layer in layers}


def new_state(
    weights: Mapping[int, Tensor],
    variant: Variant,
    corpus: Callable[[], Mapping[int, SecondMoment]],
    devices: Mapping[int, torch.device] | None = None,
) -> State:
    """State without edits.

    weights, devices: as in `make_editors`. corpus: returns the corpus' second moments by layer;
    called only for a variant that uses them.
    """
    moments: Mapping[int, SecondMoment] = {}
    if uses_corpus(variant):
        moments = corpus()
    elif isinstance(variant.edit, TargetOptions):
        moments = {
            layer: second_moment.identity(weights[layer].shape[1]) for layer in variant.edit.layers
        }
    editors = make_editors(weights, moments, variant, devices)
    options = variant.edit
    if not isinstance(options, LedgerOptions) or not options.needs_unedited:
        return State(editors)
    # The weights may be the model's own, which edits overwrite.
    own = {layer: editors[layer].weight.clone() for layer in options.layers}
    return State(editors, fresh=lambda: make_editors(own, moments, variant, devices))


def uses_corpus(variant: Variant) -> bool:
    """Whether a variant uses second moments of a corpus; methods without value targets use none."""
    options = variant.edit
    return isinstance(options, TargetOptions) and options.second_moment == "corpus"


def keeps_ledger(variant: Variant) -> bool:
    """Whether a variant's edits can be solved again: free targets, written in closed form, of which
    each edit has one. (With `spread: each` every layer has its own.)"""
    options = variant.edit
    if not isinstance(options, LedgerOptions) or options.target_space != "free":
        return False
    return options.spread != "each" or len(options.layers) == 1


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
    found: Mapping[str, FoundTarget] | None = None,
) -> None:
    """Continue from `state` (already in the model) to `last` edits, in batches.

    requests: the whole fixed order; those from state.edits on are written.
    after_batch: called after each batch with the place of its first request and its requests.
    found: targets of the unedited model by the request's id, for `targets_from: unedited`; None:
    they are sought batch by batch.
    Raises ConfigError or RequestError for wrong arguments, before anything is written;
    NumericalError, which names the batch's requests, for a numerical failure.
    """
    check_requests(requests)
    _check_span(state.edits, len(requests), batch, last)
    for request in requests[state.edits : last] if found is not None else ():
        if request.id not in (found or {}):
            raise ConfigError(f"found: no target of request {request.id}; give those of all")
    unedited = _unedited_weights(state, variant) if found is None else {}
    starts = range(state.edits, last, batch)
    for start in track(starts, "editing batches"):
        members = requests[start : min(start + batch, last)]
        # Not start // batch: an editor's calls may have ended within a batch.
        number = state.diagnoses[-1].batch + 1 if state.diagnoses else 0
        try:
            if found is None:
                known = _found_on_unedited(lm, state, variant, members, templates, unedited)
            else:
                known = [found[member.id] for member in members]
            together = requests[: start + len(members)] if _all_so_far(variant) else members
            outcomes = write_batch(lm, state.editors, variant, together, templates, known)
        except NumericalError as error:
            named = shortened(", ".join(member.id for member in members))
            where = f"edits {start + 1} to {start + len(members)} ({named})"
            raise NumericalError(f"{where}: {error}") from None
        _record(state, start, number, members, outcomes[-len(members) :])
        logger.info("%d edits: %s", state.edits, _means(state.diagnoses[start:]))
        if _is_due(variant, start, state.edits):
            solve_again(lm, state, variant, requests, templates)
        after_batch(start, members)


def _all_so_far(variant: Variant) -> bool:
    """Whether a batch is written together with all requests before it (LocFT-BF)."""
    options = variant.edit
    return isinstance(options, TrainedOptions) and options.ALL_SO_FAR


def _record(
    state: State,
    start: int,
    number: int,
    members: Sequence[EditRequest],
    outcomes: Sequence[RequestOutcome],
) -> None:
    """Note the outcomes of batch `number`, whose first request is at place `start`."""
    for place, (member, outcome) in enumerate(zip(members, outcomes, strict=True)):
        values = outcome.steps, outcome.loss, outcome.attained, outcome.seconds
        state.diagnoses.append(Diagnosis(start + place, member.id, number, *values))
        state.wanted.append(outcome.wanted)
    state.edits = start + len(members)


def _unedited_weights(state: State, variant: Variant) -> dict[int, Tensor]:
    """Weights of the model that targets are sought on; empty: the present ones."""
    options = variant.edit
    if not isinstance(options, LedgerOptions) or options.targets_from == "present":
        return {}
    return {layer: editor.weight for layer, editor in _fresh(state, variant).items()}


def _found_on_unedited(
    lm: CausalLM,
    state: State,
    variant: Variant,
    members: Sequence[EditRequest],
    templates: Sequence[str],
    unedited: Mapping[int, Tensor],
) -> list[FoundTarget] | None:
    """Targets of a batch on the unedited model; None without its weights."""
    options = variant.edit
    if not unedited or not isinstance(options, TargetOptions):
        return None
    for layer, weight in unedited.items():
        lm.write(layer, weight)
    found = find_wanted(lm, members, templates, options)
    put_into(lm, state)
    return found


def _is_due(variant: Variant, before: int, now: int) -> bool:
    """Whether a multiple of `replay` lies in (before, now]."""
    options = variant.edit
    every = options.replay if isinstance(options, LedgerOptions) else 0
    return every > 0 and now // every > before // every


def solve_again(
    lm: CausalLM,
    state: State,
    variant: Variant,
    requests: Sequence[EditRequest],
    templates: Sequence[str],
) -> None:
    """Replace the state's editors by new ones that hold all edits so far, written at once.

    From the unedited weights, layer by layer: keys and what is missing of the wanted outputs are
    those of the model as edited again so far. The result depends on neither the order nor the
    batches of the edits, but through the wanted outputs. requests: the whole order.
    Raises ConfigError if the state holds edits without wanted outputs, or no unedited weights.
    """
    wanted = [output for output in state.wanted if output is not None]
    if len(wanted) != state.edits:
        raise ConfigError(
            f"replay: {state.edits} edits and {len(wanted)} wanted outputs; {variant.method} keeps "
            "none, or the state was made without them"
        )
    state.editors = _fresh(state, variant)
    put_into(lm, state)
    members = requests[: state.edits]
    attained = write_wanted(
        lm, state.editors, variant, members, templates, torch.stack(wanted, dim=1)
    )
    logger.info("%d edits solved again: mean attained %.3f", state.edits, float(attained.mean()))


def _fresh(state: State, variant: Variant) -> dict[int, LayerEditor]:
    if state.fresh is None:
        raise ConfigError(
            f"{variant.method}: the unedited weights are not at hand; make the state with new_state"
        )
    return state.fresh()


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
