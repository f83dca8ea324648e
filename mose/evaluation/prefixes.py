"""Edit prompts behind unrelated text: how much of an edit is left in a context.

The text in front is a piece of the held-out text of the perplexity. Every request has a piece of
its own, the same one for all models and checkpoints. The question is that of arXiv 2505.23026 and
2505.11876, which put unrelated sentences before edit prompts.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mose.errors import ConfigError
from mose.evaluation.prompt_scores import score_requests
from mose.facts.requests import EditRequest
from mose.models.causal_lm import CausalLM
from mose.statistics import second_moments
from mose.storage import hdf5

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KIND = "prefixed"
TRIED = 200  # pieces of text for one request


def score_prefixed(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    places: Sequence[int],
    heldout: str | Path,
    tokens: int,
) -> list[dict[str, int | float | str]]:
    """Rows (`prompt_scores.COLUMNS`) of kind "prefixed": each edit prompt behind unrelated text.

    places: of the requests in the whole order. heldout: HDF5 file of token windows. tokens: length
    of the text in front. Raises ConfigError if the file has no such text, StoreError for windows of
    another model.
    """
    windows = hdf5.read(heldout, "windows")
    second_moments.check_model(heldout, windows, lm.fingerprint)
    ids = windows.arrays["ids"].ravel()
    prefixed = [_behind(unrelated(lm.tokenizer, ids, tokens, one), one) for one in requests]
    return [{**row, "kind": KIND} for row in score_requests(lm, prefixed, places)]


def unrelated(
    tokenizer: "PreTrainedTokenizerBase",
    ids: NDArray[np.integer],
    tokens: int,
    request: EditRequest,
) -> str:
    """A text of `tokens` consecutive tokens of `ids` that names neither subject nor objects.

    Where it begins is drawn by the request's id. Its first and last word may be cut off. Names are
    compared as whole words, regardless of case. Raises ConfigError if there is none.
    """
    starts = len(ids) - tokens + 1
    if starts < 1:
        raise ConfigError(
            f"measure.prefix_tokens: found {tokens}, expected at most the {len(ids)} tokens of "
            "held-out text; lower it, or raise corpus.heldout"
        )
    names = filter(None, (request.subject, request.target_new, request.target_true))
    named = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)", re.IGNORECASE)
    generator = random.Random(f"prefix {request.id}")
    for start in generator.sample(range(starts), min(starts, TRIED)):
        piece = tokenizer.decode(ids[start : start + tokens].tolist(), skip_special_tokens=True)
        text = piece.strip("\ufffd \t\r\n")  # half a letter becomes U+FFFD
        # Braces would be taken for the subject's place.
        if text and "{}" not in text and not named.search(text):
            return text
    raise ConfigError(
        f"measure.prefixed: request {request.id}: every piece of {tokens} tokens of held-out text "
        f"that was tried names its subject or one of its objects; raise corpus.heldout, or lower "
        "measure.prefix_tokens"
    )


def _behind(text: str, request: EditRequest) -> EditRequest:
    """The request's edit prompt behind a text, without its other prompts."""
    return replace(
        request, prompt=f"{text}\n{request.prompt}",
        paraphrases=(), locality=(), portability=(), instances=(),
    )  # fmt: skip
