"""Scores of every prompt of a request, by teacher forcing.

One row per prompt; `mose.report.prompt_metrics` computes every metric from these rows. Targets
follow their prompt after a space. Inputs that are the beginning of another input share its pass;
the head is computed at the target's positions only.
"""

import math
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


# Two answered examples precede a question about an instance, as in ConceptEdit's evaluation (arXiv
# 2403.06259); the authors' examples are others.
INSTANCE_EXAMPLES = (
    "Whether Mount Everest belongs to category mountain? Yes\n"
    "Whether Lake Geneva belongs to category newspaper? No\n"
)
INSTANCE_TOKENS = 2


@dataclass(frozen=True)
class TargetScore:
    """Score of a target after a prompt.

    predicted: the argmax at each of the target's positions, given the target's earlier tokens.
    right: how many of them are the target's. logprob: sum over the target's tokens, nats.
    """

    tokens: int
    right: int
    logprob: float
    predicted: tuple[int, ...]


# Targets per call of the head: more read its weight from memory less often, but their logits over
# the vocabulary take more memory.
HEAD_TARGETS = 128

# Larger passes mix rows of more lengths, and padding costs more than larger matrix products save:
# on two cores, 4096 take 1.5 times as long.
TOKENS_PER_PASS = 1024

NO_TARGET = TargetScore(0, 0, 0.0, ())


@torch.no_grad()
def score_targets(
    lm: CausalLM, pairs: Sequence[tuple[str, str]], tokens_per_pass: int = TOKENS_PER_PASS
) -> list[TargetScore]:
    """One TargetScore per (prompt, target) pair, in order; NO_TARGET for an empty target."""
    encoded = {
        i: encode_pair(lm.tokenizer, prompt, target)
        for i, (prompt, target) in enumerate(pairs)
        if target
    }
    rows, row_of = _shared_rows({i: (*p, *t[:-1]) for i, (p, t) in encoded.items()})
    pairs_of_row: dict[int, list[int]] = {}
    for i, row in row_of.items():
        pairs_of_row.setdefault(row, []).append(i)
    scores = [NO_TARGET] * len(pairs)
    for group in batches_by_length([len(row) for row in rows], tokens_per_pass):
        hidden = lm.hidden(*pad([rows[g] for g in group]))
        members = [(place, i) for place, g in enumerate(group) for i in pairs_of_row[g]]
        for start in range(0, len(members), HEAD_TARGETS):
            _score_members(lm, hidden, members[start : start + HEAD_TARGETS], encoded, scores)
    return scores


def _score_members(
    lm: CausalLM,
    hidden: Tensor,
    members: Sequence[tuple[int, int]],
    encoded: dict[int, tuple[list[int], list[int]]],
    scores: list[TargetScore],
) -> None:
    """Fill `scores` for members (row of `hidden`, index of the pair), by one call of the head."""
    states, tokens = [], []
    for place, i in members:
        prompt, target = encoded[i]
        states.append(hidden[place, len(prompt) - 1 : len(prompt) - 1 + len(target)])
        tokens.extend(target)
    log_probs = lm.head(torch.cat(states)).float().log_softmax(-1)
    # A model that edits have broken may give no number: that is no probability for any token.
    log_probs = log_probs.nan_to_num(nan=-math.inf, neginf=-math.inf)
    predicted = log_probs.argmax(-1).tolist()
    wanted = torch.tensor(tokens, device=log_probs.device)
    logprobs = log_probs.gather(1, wanted[:, None])[:, 0].double().tolist()
    start = 0
    for _, i in members:
        target = encoded[i][1]
        stop = start + len(target)
        own = predicted[start:stop]
        scores[i] = TargetScore(
            tokens=len(target),
            right=sum(p == t for p, t in zip(own, target, strict=True)),
            logprob=sum(logprobs[start:stop]),
            predicted=tuple(own),
        )
        start = stop


def _shared_rows(
    inputs: dict[int, tuple[int, ...]],
) -> tuple[list[tuple[int, ...]], dict[int, int]]:
    """Rows that need a pass, and the index of each input's row, which starts with that input."""
    rows: list[tuple[int, ...]] = []
    row_of = {}
    # In descending order, an input directly follows the rows that start with it.
    for i, ids in sorted(inputs.items(), key=lambda item: item[1], reverse=True):
        if not rows or rows[-1][: len(ids)] != ids:
            rows.append(ids)
        row_of[i] = len(rows) - 1
    return rows, row_of


@torch.no_grad()
def generate(lm: CausalLM, prompts: Sequence[str], tokens: int) -> list[str]:
    """Greedy continuation of each prompt, up to `tokens` tokens, in order."""
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in prompts]
    texts = [""] * len(rows)
    for group in batches_by_length([len(row) + tokens for row in rows], TOKENS_PER_PASS):
        for i, ids in zip(group, lm.greedy([rows[g] for g in group], tokens), strict=True):
            texts[i] = lm.tokenizer.decode(ids, skip_special_tokens=True)
    return texts


def score_requests(
    lm: CausalLM,
    requests: Sequence[EditRequest],
    places: Sequence[int],
    generated: frozenset[int] = frozenset(),
    tokens: int = 0,
) -> list[dict[str, int | float | str]]:
    """Rows (COLUMNS) of every prompt of the requests; places: theirs in the whole order.

    generated: places of requests whose edit and paraphrase prompts are also continued greedily, by
    up to `tokens` tokens. The column `answer` then holds the expected text, else it is empty.
    Questions about instances are always answered (rows of kind "instance").
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
    continued = [
        i
        for i, (place, _, kind, *_) in enumerate(prompts)
        if place in generated and kind in ("edit", "paraphrase")
    ]
    texts = generate(lm, [prompts[i][4] for i in continued], tokens)
    for i, text in zip(continued, texts, strict=True):
        rows[i] |= {"answer": prompts[i][1].target_new, "generated": text}
    return rows + _answer_instances(lm, requests, places)


def _answer_instances(
    lm: CausalLM, requests: Sequence[EditRequest], places: Sequence[int]
) -> list[dict[str, int | float | str]]:
    """Rows of the answers to questions whether an instance belongs to an edited concept."""
    questions = [
        (place, request.id, number, question)
        for place, request in zip(places, requests, strict=True)
        for number, question in enumerate(request.instances)
    ]
    prompts = [INSTANCE_EXAMPLES + question for *_, question in questions]
    texts = generate(lm, prompts, INSTANCE_TOKENS)
    return [
        generated_row(place, name, "instance", number, text)
        for (place, name, number, _), text in zip(questions, texts, strict=True)
    ]


def free_texts(
    lm: CausalLM, requests: Sequence[EditRequest], places: Sequence[int], tokens: int
) -> list[dict[str, int | float | str]]:
    """Rows of kind "text": sampled continuations of the requests' generation prompts.

    Texts have `tokens` tokens, prompt included, sampled from the five likeliest tokens at each step
    (ROME, arXiv 2202.05262). Without generation prompts, the edit prompt is continued, as in
    EasyEdit. The random numbers depend on the prompt alone, so all models and checkpoints share
    them.
    """
    continued = [
        (place, request.id, number, prompt)
        for place, request in zip(places, requests, strict=True)
        for number, prompt in enumerate(request.generation or (request.text,))
    ]
    prompts = [prompt for *_, prompt in continued]
    texts = sampling.continue_texts(lm, prompts, tokens, top_k=5)
    return [
        generated_row(place, name, "text", number, " ".join(text.split()))
        for (place, name, number, _), text in zip(continued, texts, strict=True)
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
    """Kind, number, prompt and true target of every prompt of a request."""
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
    """Number of predicted tokens and their mean NLL (nats per token) in token windows (n, T).

    All tokens of a window but the first are predicted.
    """
    total, count = 0.0, 0
    rows = max(1, tokens_per_pass // windows.shape[1])
    for start in range(0, len(windows), rows):
        ids = torch.from_numpy(windows[start : start + rows].astype(np.int64))
        hidden = lm.hidden(ids, torch.ones_like(ids))
        # One window at a time, because the head's logits are the largest tensor.
        for row, states in zip(ids.to(lm.device), hidden, strict=True):
            logits = lm.head(states[:-1]).float()
            total += float(torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum"))
            count += len(row) - 1
    return count, total / count
