"""One segment of a run: from one checkpoint to the next, with immediate scores."""

from collections.abc import Sequence

from mose.editing import chain, checkpoints, sequence, shared_targets
from mose.editing.in_context import as_asked
from mose.evaluation import prompt_scores
from mose.facts.drawing import check_enough
from mose.facts.requests import EditRequest
from mose.models.causal_lm import CausalLM

Row = dict[str, int | float | str]
COLUMNS = prompt_scores.COLUMNS


def edit_segment(
    lm: CausalLM,
    run: chain.Chain,
    last: int,
    previous: str | None,
    source: str,
    targets: str | None = None,
    solve_on: str = "model",
) -> tuple[sequence.State, list[Row]]:
    """Edit the requests after the previous checkpoint, up to `last` edits.

    previous: path of that checkpoint; None for the first segment. source: the file of the requests,
    for errors. targets: file of the segment's targets (`mose.editing.shared_targets`); None: they
    are sought. solve_on: as in `sequence.solve_devices`. Changes the model's weights.
    Returns the state and the rows (COLUMNS) of the scores of each batch right after its edit.
    Raises ConfigError for layers that the model lacks and for too few requests.
    """
    lm.check_layers(run.variant.edit.layers, "methods.*.layers")
    check_enough(len(run.requests), last, source)
    weights = {layer: lm.weight(layer) for layer in run.variant.edit.layers}
    devices = sequence.solve_devices(lm, run.variant.edit.layers, solve_on)
    state = run.fresh_state(weights, lm.fingerprint, devices)
    if previous:
        checkpoints.load(previous, state, run.identity(lm.fingerprint), run.requests)
        sequence.put_into(lm, state)
    found = None
    if targets:
        members = run.requests[state.edits : last]
        found = shared_targets.load(targets, run.variant, lm.fingerprint, members, run.templates)
    rows: list[Row] = []

    def score(first: int, batch: Sequence[EditRequest]) -> None:
        asked = as_asked(run.variant, batch)
        rows.extend(prompt_scores.score_requests(lm, asked, range(first, first + len(batch))))

    sequence.run(lm, state, run.variant, run.requests, run.templates, run.batch, last, score, found)
    return state, rows
