"""Answers of a model: choices and continuations by log-likelihood, greedy text, perplexity.

Results are in long form: one row (COLUMNS) per task, item and metric. `mose.report.abilities`
computes every score from these rows. Generated text is returned beside them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mose.errors import RequestError
from mose.evaluation.prompt_scores import score_targets
from mose.evaluation.tasks import answers
from mose.evaluation.tasks.items import Item, Prepared, draw
from mose.models.causal_lm import CausalLM
from mose.models.tokens import batches_by_length, encode, pad, start_of
from mose.progress import track

logger = logging.getLogger(__name__)

COLUMNS = ("task", "kind", "item", "metric", "value")
# Tokens of a batch in generation. Large, since each step reads the weights from memory once for
# all rows.
TOKENS_PER_BATCH = 4096

Row = dict[str, Any]
Scores = dict[int, dict[str, float]]
Texts = dict[int, dict[str, str]]


@dataclass(frozen=True)
class Answers:
    """Answers of a model.

    rows: with COLUMNS. texts: task, item, prompt and answer, for generated text.
    """

    rows: list[Row]
    texts: list[Row]


def evaluate(lm: CausalLM, prepared: Prepared) -> Answers:
    """Answers to all items of a task; `.harness` runs those of kind "harness".

    Raises RequestError if no item fits into the model's context.
    """
    task, name = prepared.task, prepared.name
    texts: Texts = {}
    if task.kind == "perplexity":
        scores = perplexity_scores(lm, prepared)
    else:
        items = _fitting(lm, prepared)
        scores, texts = SCORERS[task.kind](lm, items, prepared)
    rows = [
        {"task": name, "kind": task.kind, "item": item, "metric": metric, "value": value}
        for item, values in scores.items()
        for metric, value in values.items()
    ]
    return Answers(rows, [{"task": name, "item": i, **text} for i, text in texts.items()])


def _fitting(lm: CausalLM, prepared: Prepared) -> list[Item]:
    """The items that fit into the model's context; logs how many do not.

    This depends on the tokenizer alone, so edited and unedited models answer the same items.
    """
    limit = lm.context_length
    fitting = []
    for item in prepared.items:
        if prepared.task.kind == "generate":
            needed = len(encode(lm.tokenizer, item.prompt)[0]) + prepared.task.max_tokens
        else:
            longest = max(item.choices or item.answers, key=len)
            needed = len(encode(lm.tokenizer, f"{item.prompt} {longest}")[0])
        if needed <= limit:
            fitting.append(item)
    if len(fitting) < len(prepared.items):
        left_out = len(prepared.items) - len(fitting)
        logger.warning(
            "tasks.%s: %d of %d items left out, longer than the model's context of %d tokens",
            *(prepared.name, left_out, len(prepared.items), limit),
        )
    if not fitting:
        raise RequestError(f"tasks.{prepared.name}: no item fits into {limit} tokens of context")
    return fitting


def choice_scores(lm: CausalLM, items: Sequence[Item], _prepared: Prepared) -> tuple[Scores, Texts]:
    """The likeliest choice, by log probability and by log probability per character.

    Metrics: label; choice and correct (by log probability); choice_norm and correct_norm (per
    character, lm-evaluation-harness's acc_norm); margin (nats, right choice minus best wrong one);
    logprob_0, logprob_1, ... (nats, summed over tokens). Ties go to the first choice.
    """
    pairs = [(item.prompt, choice) for item in items for choice in item.choices]
    target_scores = iter(score_targets(lm, pairs))
    scores: Scores = {}
    for item in items:
        sums = [next(target_scores).logprob for _ in item.choices]
        means = [total / len(choice) for total, choice in zip(sums, item.choices, strict=True)]
        best, best_norm = sums.index(max(sums)), means.index(max(means))
        wrong = [total for i, total in enumerate(sums) if i != item.label]
        scores[item.item] = {
            "label": item.label,
            "choice": best,
            "correct": float(best == item.label),
            "choice_norm": best_norm,
            "correct_norm": float(best_norm == item.label),
            **({"margin": sums[item.label] - max(wrong)} if wrong else {}),
            **{f"logprob_{i}": total for i, total in enumerate(sums)},
        }
    return scores, {}


def continuation_scores(
    lm: CausalLM, items: Sequence[Item], _prepared: Prepared
) -> tuple[Scores, Texts]:
    """Metrics: correct (every token of the answer is the argmax), logprob (nats, summed)."""
    target_scores = score_targets(lm, [(item.prompt, item.answers[0]) for item in items])
    scores: Scores = {
        item.item: {"correct": float(one.right == one.tokens), "logprob": one.logprob}
        for item, one in zip(items, target_scores, strict=True)
    }
    return scores, {}


def generated_scores(
    lm: CausalLM, items: Sequence[Item], prepared: Prepared
) -> tuple[Scores, Texts]:
    """Metrics: those of the task, and empty (1 for an answer without a letter or digit)."""
    task = prepared.task
    written = generate(lm, [item.prompt for item in items], task.max_tokens, task.stop)
    scores: Scores = {}
    texts: Texts = {}
    for item, answer in zip(items, written, strict=True):
        values = answers.score(answer, item.answers, task.metrics)
        values["empty"] = float(not any(letter.isalnum() for letter in answer))
        scores[item.item] = values
        texts[item.item] = {"prompt": item.prompt, "answer": answer}
    return scores, texts


SCORERS: dict[str, Callable[..., tuple[Scores, Texts]]] = {
    "choice": choice_scores,
    "continuation": continuation_scores,
    "generate": generated_scores,
}


@torch.no_grad()
def generate(
    lm: CausalLM,
    prompts: Sequence[str],
    max_tokens: int,
    stop: Sequence[str] = (),
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> list[str]:
    """Greedy continuation of each prompt, cut at the first stop string, in order.

    Of the model's generation config only the end tokens are used; sampling, beams and penalties are
    ignored. Prompts of similar length share a batch, padded on the left.
    """
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in prompts]
    written = [""] * len(prompts)

    def answer(ids: Sequence[int]) -> tuple[str, bool]:
        # No clean-up, so that the text is scored as generated.
        return answers.cut(lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False), stop)

    groups = batches_by_length([len(row) + max_tokens for row in rows], tokens_per_batch)
    for group in track(groups, "generating"):
        generated = lm.greedy([rows[i] for i in group], max_tokens, lambda ids: answer(ids)[1])
        for i, ids in zip(group, generated, strict=True):
            written[i] = answer(ids)[0].strip()
    return written


@dataclass(frozen=True)
class Window:
    """Tokens `start` to before `stop` of a text; those from `first` on are predicted."""

    start: int
    first: int
    stop: int


def windows(count: int, length: int, stride: int) -> list[Window]:
    """Sliding windows over `count` tokens: every token but the first is predicted once.

    Each window starts `stride` tokens later and predicts the tokens that no earlier one has. Except
    in the first window, they have at least length - stride tokens of context.
    """
    spans = []
    predicted = 1
    for start in range(0, count, stride):
        stop = min(start + length, count)
        if stop > predicted:
            spans.append(Window(start, predicted, stop))
        predicted = max(predicted, stop)
        if stop == count:
            break
    return spans


def perplexity_scores(lm: CausalLM, prepared: Prepared) -> Scores:
    """Metrics per window: nll (nats, summed) and tokens (number of predicted ones).

    Tokenises the text as a whole and draws a sample of its windows. If the tokenizer begins every
    text with a start token, every window begins with it, in the place of one token of context: a
    model that was trained with it predicts badly without.
    Raises RequestError for a window longer than the context and a text of fewer than two tokens.
    """
    task, where = prepared.task, f"tasks.{prepared.name}"
    if task.window > lm.context_length:
        raise RequestError(
            f"{where}.window: {task.window} tokens, the model takes {lm.context_length}"
        )
    start = start_of(lm.tokenizer)
    encoding = lm.tokenizer(prepared.text, verbose=False, add_special_tokens=False)
    ids = torch.tensor(encoding["input_ids"])
    length = task.window - len(start)
    spans = windows(len(ids), length, min(task.stride, length))
    if not spans:
        raise RequestError(f"{where}: the text has {len(ids)} tokens; two are the least")
    drawn = draw(len(spans), task.samples, task.seed)
    scores: Scores = {}
    for place, nll, tokens in window_losses(lm, ids, {i: spans[i] for i in drawn}, start):
        scores[place] = {"nll": nll, "tokens": tokens}
    return dict(sorted(scores.items()))


@torch.no_grad()
def window_losses(
    lm: CausalLM,
    ids: Tensor,
    chosen: dict[int, Window],
    start: Sequence[int] = (),
    tokens_per_pass: int = 2048,
) -> Iterator[tuple[int, float, int]]:
    """Place, summed NLL (nats) and number of predicted tokens of each window on `ids` (T,).

    start: ids before every window, which are not predicted.
    """
    places = list(chosen)
    lengths = [len(start) + chosen[i].stop - chosen[i].start for i in places]
    for group in track(batches_by_length(lengths, tokens_per_pass), "perplexity"):
        spans = [chosen[places[g]] for g in group]
        rows = [[*start, *ids[s.start : s.stop].tolist()] for s in spans]
        hidden = lm.hidden(*pad(rows))
        for g, span, states in zip(group, spans, hidden, strict=True):
            # Only where a token is predicted: the head's logits are the largest tensor.
            before = len(start) - span.start - 1
            inputs = states[before + span.first : before + span.stop]
            wanted = ids[span.first : span.stop].to(lm.device)
            loss = torch.nn.functional.cross_entropy(
                lm.head(inputs).float(), wanted, reduction="sum"
            )
            yield places[g], float(loss), len(wanted)
