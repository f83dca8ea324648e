"""What edits did to the next token's distribution where nothing was to change.

Of two distributions p_0, unedited, and p, edited, over the vocabulary:

    kl = KL(p_0 || p) in nats
    top<k> = share of the k likeliest tokens of p_0 that are among the k likeliest of p

after neighbour prompts (the next token only) and on held-out text (the mean over all positions but
the last). Unlike the truth of a neighbour's object they see any change of the model. Edited layers
leave the head alone, so the unedited model's last hidden states are kept, and no distribution.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mose.facts.requests import EditRequest
from mose.models.causal_lm import CausalLM
from mose.models.tokens import batches_by_length, encode, pad

TOPS = (1, 5, 10)
COLUMNS = ("order", "request", "kind", "prompt", "tokens", "kl", *(f"top{k}" for k in TOPS))
TOKENS_PER_PASS = 1024
HEAD_ROWS = 128  # positions whose logits are held at a time

Row = dict[str, int | float | str]


def compare(
    lm: CausalLM,
    edit: Callable[[], None],
    requests: Sequence[EditRequest],
    places: Sequence[int],
    windows: NDArray[np.integer],
    asked: Sequence[EditRequest] | None = None,
) -> list[Row]:
    """Rows (COLUMNS): one per neighbour prompt (kind "locality"), one per window ("heldout").

    lm: the unedited model; edit: writes the edited weights into it. places: of the requests in the
    whole order. windows: (n, T) token ids of held-out text; their rows have order -1, an empty
    request, and the window's number as prompt. asked: the requests as the edited model is asked
    about them (`mose.editing.in_context.as_asked`); None: as they are.
    """
    prompts = [
        (place, request.id, number, probe.prompt)
        for place, request in zip(places, requests, strict=True)
        for number, probe in enumerate(request.locality)
    ]
    texts = [text for *_, text in prompts]
    texts_after = [probe.prompt for request in asked or requests for probe in request.locality]
    before = last_states(lm, texts), window_states(lm, windows)
    edit()
    after = last_states(lm, texts_after), window_states(lm, windows)
    rows: list[Row] = []
    found = differences(lm, before[0], after[0]).tolist()
    for (place, name, number, _), values in zip(prompts, found, strict=True):
        rows.append(_row(place, name, "locality", number, 1, values))
    for number, pair in enumerate(zip(before[1], after[1], strict=True)):
        means = differences(lm, *pair).mean(dim=0).tolist()
        rows.append(_row(-1, "", "heldout", number, len(pair[0]), means))
    return rows


@torch.no_grad()
def last_states(lm: CausalLM, texts: Sequence[str]) -> Tensor:
    """Output of the last block at the last token of each text, (n, d_model) in host memory."""
    rows = [encode(lm.tokenizer, text)[0] for text in texts]
    width = lm.weight(0).shape[0]
    states = torch.empty(len(rows), width, dtype=lm.model.dtype)
    for group in batches_by_length([len(row) for row in rows], TOKENS_PER_PASS):
        # Left padding puts every text's last token in the last column.
        states[group] = lm.hidden(*pad([rows[i] for i in group], "left"))[:, -1].cpu()
    return states


@torch.no_grad()
def window_states(lm: CausalLM, windows: NDArray[np.integer]) -> Tensor:
    """Output of the last block at all positions but the last, (n, T - 1, d_model), host memory."""
    parts = []
    rows = max(1, TOKENS_PER_PASS // max(1, windows.shape[1]))
    for start in range(0, len(windows), rows):
        ids = torch.from_numpy(windows[start : start + rows].astype(np.int64))
        parts.append(lm.hidden(ids, torch.ones_like(ids))[:, :-1].cpu())
    return torch.cat(parts) if parts else torch.empty(0, 0, lm.weight(0).shape[0])


@torch.no_grad()
def differences(lm: CausalLM, before: Tensor, after: Tensor) -> Tensor:
    """kl and each top<k>, (n, 1 + len(TOPS)) float64, of last hidden states (n, d_model)."""
    found = torch.empty(len(before), 1 + len(TOPS), dtype=torch.float64)
    for start in range(0, len(before), HEAD_ROWS):
        part = slice(start, start + HEAD_ROWS)
        old, new = (
            lm.head(states[part].to(lm.device)).cpu().double().log_softmax(-1)
            for states in (before, after)
        )
        found[part, 0] = (old.exp() * (old - new)).sum(-1)
        best = [one.topk(TOPS[-1]).indices for one in (old, new)]
        for column, k in enumerate(TOPS, 1):
            same = best[0][:, :k, None] == best[1][:, None, :k]
            found[part, column] = same.sum(dim=(1, 2)) / k
    return found


def _row(
    order: int, request: str, kind: str, prompt: int, tokens: int, values: Sequence[float]
) -> Row:
    return dict(zip(COLUMNS, (order, request, kind, prompt, tokens, *values), strict=True))
