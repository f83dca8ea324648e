"""Measurements of a model at a checkpoint: scores of selected requests, and perplexity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mose.evaluation import prefixes, prompt_scores
from mose.facts.drawing import check_enough, sample
from mose.facts.requests import EditRequest
from mose.models.causal_lm import CausalLM
from mose.statistics import second_moments
from mose.storage import hdf5

COLUMNS = prompt_scores.COLUMNS
# Above this, exp overflows float64.
LARGEST_NLL = 700.0


@dataclass(frozen=True)
class Selection:
    """Which requests of a fixed order are scored, and which of them with generated text.

    first, last: scores the requests from place `first` to before place `last`.
    earlier: if not None, scores those from place `recent_from` on instead, and a sample of
    `earlier` requests before it.
    generate: number of requests also answered greedily, with up to `generated_tokens` tokens.
    fluency: number of requests after which `fluency_tokens` tokens are sampled, if scored.
    prefixed: number of requests also asked behind `prefix_tokens` tokens of text, if scored.
    """

    first: int
    last: int
    earlier: int | None = None
    recent_from: int = 0
    generate: int = 0
    generated_tokens: int = 20
    fluency: int = 0
    fluency_tokens: int = 100
    prefixed: int = 0
    prefix_tokens: int = 100

    def scored(self, requests: Sequence[EditRequest]) -> list[int]:
        """Places of the scored requests, ascending."""
        if self.earlier is None:
            return list(range(self.first, self.last))
        before = sample(requests[: self.recent_from], self.earlier)
        return [*before, *range(self.recent_from, self.last)]

    def answered(self, requests: Sequence[EditRequest]) -> frozenset[int]:
        """Places of the requests that are answered by generation, if scored."""
        return frozenset(sample(requests[: self.last], self.generate))

    def continued(self, requests: Sequence[EditRequest]) -> list[int]:
        """Places of the scored requests after which text is sampled, ascending."""
        return self._sampled(requests, self.fluency)

    def asked_behind_text(self, requests: Sequence[EditRequest]) -> list[int]:
        """Places of the scored requests that are asked behind unrelated text, ascending."""
        return self._sampled(requests, self.prefixed)

    def _sampled(self, requests: Sequence[EditRequest], count: int) -> list[int]:
        scored = set(self.scored(requests))
        return [place for place in sample(requests[: self.last], count) if place in scored]


def score_selection(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    selection: Selection,
    source: str | Path,
    heldout: str | Path = "",
) -> list[dict[str, int | float | str]]:
    """Rows (COLUMNS) of every prompt of the selected requests, of their edit prompts behind
    unrelated text, and of their sampled texts.

    requests: the whole order. source: its file, for errors. heldout: HDF5 file of the token windows
    that unrelated text is taken from. Raises ConfigError if there are fewer requests than
    `selection.last` and for texts longer than the model's context, and what
    `prefixes.score_prefixed` raises.
    """
    check_enough(len(requests), selection.last, source)
    for count, tokens in (
        (selection.generate, "generated_tokens"),
        (selection.fluency, "fluency_tokens"),
        (selection.prefixed, "prefix_tokens"),
    ):
        if count:
            lm.check_fits(getattr(selection, tokens), f"measure.{tokens}")
    places = selection.scored(requests)
    rows = prompt_scores.score_requests(
        lm,
        [requests[place] for place in places],
        places,
        selection.answered(requests),
        selection.generated_tokens,
    )
    behind = selection.asked_behind_text(requests)
    if behind:
        asked = [requests[place] for place in behind]
        rows += prefixes.score_prefixed(lm, asked, behind, heldout, selection.prefix_tokens)
    continued = selection.continued(requests)
    texts = prompt_scores.free_texts(
        lm, [requests[place] for place in continued], continued, selection.fluency_tokens
    )
    return rows + texts


def perplexity_row(lm: CausalLM, heldout: str | Path) -> dict[str, int | float]:
    """tokens, nll (mean, nats per token) and perplexity (infinite on overflow).

    heldout: HDF5 file of token windows. Raises StoreError for windows of another model.
    """
    windows = hdf5.read(heldout, "windows")
    second_moments.check_model(heldout, windows, lm.fingerprint)
    tokens, nll = prompt_scores.perplexity(lm, windows.arrays["ids"])
    perplexity = math.exp(nll) if nll < LARGEST_NLL else math.inf
    return {"tokens": tokens, "nll": nll, "perplexity": perplexity}
