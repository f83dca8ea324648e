"""Neighbour prompts right after an edit: which of them get another answer than before.

A quick look, for a warning. `locality` (docs/methods.md) is measured over all of them.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import chain, zip_longest

from mose.errors import RequestError, shortened
from mose.evaluation import prompt_scores
from mose.facts.requests import EditRequest, Probe
from mose.models.causal_lm import CausalLM

# As many are asked as there are edits, which are asked as well, but for few edits this many: two
# short passes beside the search for a fact's target.
FEW = 32


def asked_of(requests: Sequence[EditRequest]) -> list[Probe]:
    """Distinct neighbours to ask: the first of every request, then the second of every one, ..."""
    turns: Iterable[Probe | None] = chain.from_iterable(
        zip_longest(*(request.locality for request in requests))
    )
    distinct = dict.fromkeys(probe for probe in turns if probe is not None)
    return list(distinct)[: max(FEW, len(requests))]


def notice(
    lm: CausalLM,
    unedited: Callable[[], AbstractContextManager[CausalLM]],
    requests: Sequence[EditRequest],
) -> str:
    """A line that names the neighbours (`asked_of`) whose predicted tokens are not those of the
    unedited model, or why they could not be asked; "" if there is nothing to say.

    unedited: a context with the unedited model.
    """
    pairs = [(probe.prompt, probe.target) for probe in asked_of(requests)]
    if not pairs:
        return ""
    try:
        now = prompt_scores.score_targets(lm, pairs)
        with unedited() as before_edits:
            before = prompt_scores.score_targets(before_edits, pairs)
    except RequestError as error:  # no reason to fail: the edits are written
        return f"neighbour prompts were not asked: {error}"
    changed = [
        prompt
        for (prompt, _), edited, own in zip(pairs, now, before, strict=True)
        if edited.predicted != own.predicted
    ]
    if not changed:
        return ""
    return (
        f"{len(changed)} of {len(pairs)} neighbour prompts asked have another answer than before "
        f"the edits ({shortened('; '.join(changed))}); Editor.evaluate asks all (locality), other "
        "settings may spare them (mose.tune)"
    )
