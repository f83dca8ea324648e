"""What a model says: scores of every prompt of a request, by teacher forcing.

One row per prompt, raw enough that every metric of `mose.report.prompt_metrics` is computed from
it later. Targets follow their prompt after a space. Where the tokens of one continuation begin with
those of the other, they share a pass; the head is read at the target's positions only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mose.facts.requests import EditRequest
from mose.models import sampling
from mose.models.causal_lm import CausalLM
from mose.models.tokens import batches_by_length, encode, encode_pair, pad

COLUMNS = (
    "order",
    "request",
    "kind",
    "prompt",
    "tokens_new",
    "right_new",
    "logprob_new",
    "tokens_true",
    "right_true",
    "logprob_true",
    "predicted_true",
    "answer",
    "generated",
)


# In front of a question about an instance stand two that are answered, as in ConceptEdit's
# evaluation (arXiv 2403.06259); theirs are about others.
INSTANCE_EXAMPLES = (
    "Whether Mount Everest belongs to category mountain? Yes\n"
    "Whether Lake Geneva belongs to category newspaper? No\n"
)
INSTANCE_TOKENS = 2


@dataclass(frozen=True)
class TargetScore:
    """A target after a prompt.

    predicted: the model's own choice at each of the target's positions, the target's earlier
    tokens given. right: how many of them are the target's. logprob: the target's, summed, nats.
    """

    tokens: int
    right: int
    logprob: float
    predicted: tuple[int, ...]


# Targets read by one call of the head: its weight is read from memory once for all of them, and
# their logits over the vocabulary bound the memory.
HEAD_TARGETS = 128

# More tokens a pass put rows of more different lengths together, and padding costs more than the
# larger matrix products save: on two cores 4096 take half as long again.
TOKENS_PER_PASS = 1024

NO_TARGET = TargetScore(0, 0, 0.0, ())


@torch.no_grad()
def score_targets(
    lm: CausalLM, pairs: Sequence[tuple[str, str]], tokens_per_pass: int = TOKENS_PER_PASS
) -> list[TargetScore]:
    """Score (prompt, target) pairs; an empty target scores nothing.

    Returns one TargetScore per pair, in order.
    """
    encoded = {
        i: encode_pair(lm.tokenizer, prompt, target)
        for i, (prompt, target) in enumerate(pairs)
        if target
    }
    rows, row_of = _shared_rows({i: (*p, *t[:-1]) for i, (p, t) in encoded.items()})
    readers: dict[int, list[int]] = {}
    for i, row in row_of.items():
        readers.setdefault(row, []).append(i)
    scores = [NO_TARGET] * len(pairs)
    for group in batches_by_length([len(row) for row in rows], tokens_per_pass):
        hidden = lm.hidden(*pad([rows[g] for g in group]))
        asked = [(place, i) for place, g in enumerate(group) for i in readers[g]]
        for start in range(0, len(asked), HEAD_TARGETS):
            _score_targets(lm, hidden, asked[start : start + HEAD_TARGETS], encoded, scores)
    return scores


def _score_targets(
    lm: CausalLM,
    hidden: Tensor,
    asked: Sequence[tuple[int, int]],
    encoded: dict[int, tuple[list[int], list[int]]],
    scores: list[TargetScore],
) -> None:
    """Score targets (row of `hidden`, index) by one call of the head on all their positions."""
    states, tokens = [], []
    for place, i in asked:
        prompt, target = encoded[i]
        states.append(hidden[place, len(prompt) - 1 : len(prompt) - 1 + len(target)])
        tokens.extend(target)
    log_probs = lm.head(torch.cat(states)).float().log_softmax(-1)
    predicted = log_probs.argmax(-1).tolist()
    wanted = torch.tensor(tokens, device=log_probs.device)
    target_log_probs = log_probs.gather(1, wanted[:, None])[:, 0].double().tolist()
    start = 0
    for _, i in asked:
        target = encoded[i][1]
        stop = start + len(target)
        own = predicted[start:stop]
        scores[i] = TargetScore(
            tokens=len(target),
            right=sum(p == t for p, t in zip(own, target, strict=True)),
            logprob=sum(target_log_probs[start:stop]),
            predicted=tuple(own),
        )
        start = stop


def _shared_rows(
    inputs: dict[int, tuple[int, ...]],
) -> tuple[list[tuple[int, ...]], dict[int, int]]:
    """Rows that need a pass, and for each input the row it is the beginning of."""
    rows: list[tuple[int, ...]] = []
    row_of = {}
    # In descending order an input follows right after the rows that it is the beginning of.
    for i, ids in sorted(inputs.items(), key=lambda item: item[1], reverse=True):
        if not rows or rows[-1][: len(ids)] != ids:
            rows.append(ids)
        row_of[i] = len(rows) - 1
    return rows, row_of


@torch.no_grad()
def generate(lm: CausalLM, prompts: Sequence[str], tokens: int) -> list[str]:
    """What the model says greedily after each prompt, `tokens` tokens at most."""
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in prompts]
    texts = [""] * len(rows)
    for group in batches_by_length([len(row) + tokens for row in rows], TOKENS_PER_PASS):
        for i, continuation in zip(group, lm.greedy([rows[g] for g in group], tokens), strict=True):
            texts[i] = lm.tokenizer.decode(continuation, skip_special_tokens=True)
    return texts


def score_requests(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    places: Sequence[int],
    generated: frozenset[int] = frozenset(),
    tokens: int = 0,
) -> list[dict[str, int | float | str]]:
    """Rows (COLUMNS) for every prompt of some requests, with their places in the whole order.

    generated: places of requests whose edit and paraphrase prompts are also continued greedily,
    by `tokens` tokens at most; `answer` is what should come, and empty where nothing was asked.
    Questions about instances are always answered: rows of the kind "instance".
    """
    prompts: list[tuple[int, EditRequest, str, int, str, str]] = []
    for place, request in zip(places, requests, strict=True):
        for kind, number, text, true in _prompts(request):
            prompts.append((place, request, kind, number, text, true))
    pairs = [
        (text, target)
        for _, request, _, _, text, true in prompts
        for target in (request.target_new, true)
    ]
    scores = score_targets(lm, pairs)
    rows: list[dict[str, int | float | str]] = []
    for i, (place, request, kind, number, _, _) in enumerate(prompts):
        new, true_score = scores[2 * i], scores[2 * i + 1]
        rows.append(
            {
                "order": place,
                "request": request.id,
                "kind": kind,
                "prompt": number,
                "tokens_new": new.tokens,
                "right_new": new.right,
                "logprob_new": new.logprob,
                "tokens_true": true_score.tokens,
                "right_true": true_score.right,
                "logprob_true": true_score.logprob,
                "predicted_true": " ".join(map(str, true_score.predicted)),
                "answer": "",
                "generated": "",
            }
        )
    asked = [
        i
        for i, (place, _, kind, *_) in enumerate(prompts)
        if place in generated and kind in ("edit", "paraphrase")
    ]
    texts = generate(lm, [prompts[i][4] for i in asked], tokens)
    for i, text in zip(asked, texts, strict=True):
        rows[i] |= {"answer": prompts[i][1].target_new, "generated": text}
    return rows + _answer_instances(lm, requests, places)


def _answer_instances(
    lm: CausalLM, requests: Sequence[EditRequest], places: Sequence[int]
) -> list[dict[str, int | float | str]]:
    """Rows of the questions whether something belongs to an edited concept, with the answers."""
    asked = [
        (place, request.id, number, question)
        for place, request in zip(places, requests, strict=True)
        for number, question in enumerate(request.instances)
    ]
    texts = generate(lm, [INSTANCE_EXAMPLES + question for *_, question in asked], INSTANCE_TOKENS)
    return [
        generated_row(place, name, "instance", number, text)
        for (place, name, number, _), text in zip(asked, texts, strict=True)
    ]


def free_texts(
    lm: CausalLM, requests: Sequence[EditRequest], places: Sequence[int], tokens: int
) -> list[dict[str, int | float | str]]:
    """Rows of the kind "text": what the model writes after the requests' generation prompts.

    Texts of `tokens` tokens with their prompt, sampled from the five likeliest tokens at each step
    (ROME, arXiv 2202.05262); a request without such prompts has its edit prompt continued, as in
    EasyEdit. A prompt's random numbers depend on it alone, so that the models compared, and the
    checkpoints, share them.
    """
    asked = [
        (place, request.id, number, prompt)
        for place, request in zip(places, requests, strict=True)
        for number, prompt in enumerate(request.generation or (request.text,))
    ]
    prompts = [prompt for *_, prompt in asked]
    texts = sampling.continue_texts(lm, prompts, tokens, top_k=5)
    return [
        generated_row(place, name, "text", number, " ".join(text.split()))
        for (place, name, number, _), text in zip(asked, texts, strict=True)
    ]


def generated_row(
    place: int, request: str, kind: str, number: int, text: str
) -> dict[str, int | float | str]:
    """A row (COLUMNS) of generated text without targets."""
    row: dict[str, int | float | str] = dict.fromkeys(COLUMNS, 0)
    row |= {"order": place, "request": request, "kind": kind, "prompt": number}
    row |= {"predicted_true": "", "answer": "", "generated": text}
    return row


def _prompts(request: EditRequest) -> Iterable[tuple[str, int, str, str]]:
    yield "edit", 0, request.text, request.target_true
    for number, text in enumerate(request.paraphrases):
        yield "paraphrase", number, text, request.target_true
    for number, probe in enumerate(request.locality):
        yield "locality", number, probe.prompt, probe.target
    for number, probe in enumerate(request.portability):
        kind = f"portability:{probe.kind}" if probe.kind else "portability"
        yield kind, number, probe.prompt, probe.target


@torch.no_grad()
def perplexity(
    lm: CausalLM, windows: NDArray[np.integer], tokens_per_pass: int = 2048
) -> tuple[int, float]:
    """Tokens predicted and mean NLL (nats per token) over token windows (n, T).

    The first token of a window is given, the others are predicted.
    """
    total, count = 0.0, 0
    rows = max(1, tokens_per_pass // windows.shape[1])
    for start in range(0, len(windows), rows):
        ids = torch.from_numpy(windows[start : start + rows].astype(np.int64))
        hidden = lm.hidden(ids, torch.ones_like(ids))
        # The head of one window at a time: its logits are the largest tensor of all.
        for row, states in zip(ids.to(lm.device), hidden, strict=True):
            logits = lm.head(states[:-1]).float()
            total += float(torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum"))
            count += len(row) - 1
    return count, total / count
