"""Scores and perplexity against the whole model, one text at a time."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from mose.evaluation import prompt_scores
from mose.facts.requests import Probe
from mose.models import sampling


def naive(lm, prompt, target):
    """Score by the whole model on "prompt target", found by text alone."""
    ids = lm.tokenizer(f"{prompt} {target}")["input_ids"]
    start = len(lm.tokenizer(prompt)["input_ids"])
    with torch.no_grad():
        log_probs = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    wanted = ids[start:]
    rows = log_probs[start - 1 : -1]
    predicted = rows.argmax(-1).tolist()
    logprob = sum(float(row[token]) for row, token in zip(rows, wanted, strict=True))
    right = sum(p == w for p, w in zip(predicted, wanted, strict=True))
    return prompt_scores.TargetScore(len(wanted), right, logprob, tuple(predicted))


PAIRS = [
    ("The capital of France is", "Paris"),
    ("The capital of France is", "Rome"),
    ("The capital of France is", "Paris, not Rome"),
    ("In Switzerland", "people"),
    ("The capital of Italy is", "Reykjavík"),
    ("Therefore the chemical symbol for gold is", "Au"),
]


@pytest.mark.parametrize("tokens_per_pass", [1, 30, 4096])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_scores_are_those_of_the_whole_model(kind, tokens_per_pass):
    lm = tiny.model(kind)
    found = prompt_scores.score_targets(lm, [*PAIRS, ("Nothing", "")], tokens_per_pass)
    for (prompt, target), score in zip(PAIRS, found[:-1], strict=True):
        expected = naive(lm, prompt, target)
        assert (score.tokens, score.right, score.predicted) == (
            expected.tokens,
            expected.right,
            expected.predicted,
        )
        assert score.logprob == pytest.approx(expected.logprob, rel=1e-4)
    assert found[-1] == prompt_scores.NO_TARGET


def test_continuations_of_one_prompt_share_its_pass(llama, monkeypatch):
    rows = []
    real = llama.hidden
    monkeypatch.setattr(llama, "hidden", lambda ids, mask: rows.append(len(ids)) or real(ids, mask))
    prompt_scores.score_targets(llama, PAIRS)
    # Paris and "Paris, not Rome" share a row, as does Rome as far as it goes the same way.
    distinct = {p for p, _ in PAIRS}
    assert len(distinct) <= sum(rows) < len(PAIRS)


def test_portability_prompts_are_scored_by_kind(llama, requests):
    probes = (Probe("Who rules Paris?", "Rome", "Reasoning"), Probe("Next to Paris is", "Rome"))
    rows = prompt_scores.score_requests(llama, [replace(requests[0], portability=probes)], [0])
    found = [row for row in rows if str(row["kind"]).startswith("portability")]
    assert [(r["kind"], r["prompt"]) for r in found] == [
        ("portability:Reasoning", 0),
        ("portability", 1),
    ]
    for row, probe in zip(found, probes, strict=True):
        (expected,) = prompt_scores.score_targets(llama, [(probe.prompt, probe.target)])
        assert (row["tokens_true"], row["right_true"]) == (expected.tokens, expected.right)


def test_every_prompt_of_a_request_gets_a_row(llama, requests):
    rows = prompt_scores.score_requests(llama, requests[2:4], [2, 3])
    assert [tuple(row) for row in rows[:1]] == [prompt_scores.COLUMNS]
    assert [(r["order"], r["kind"], r["prompt"]) for r in rows] == [
        (order, kind, number)
        for order in (2, 3)
        for kind, number in (("edit", 0), ("paraphrase", 0), ("paraphrase", 1), ("locality", 0))
    ]
    edit, locality = rows[0], rows[3]
    request = requests[2]
    expected = naive(llama, request.text, request.target_new)
    assert edit["logprob_new"] == pytest.approx(expected.logprob, rel=1e-4)
    expected = naive(llama, "The capital of Kenya is", "Nairobi")
    assert locality["logprob_true"] == pytest.approx(expected.logprob, rel=1e-4)
    assert locality["predicted_true"] == " ".join(map(str, expected.predicted))


def test_perplexity_is_the_mean_over_predicted_tokens(llama):
    windows = np.random.default_rng(0).integers(1, 300, size=(5, 9)).astype(np.int32)
    total = 0.0
    for window in windows:
        ids = torch.from_numpy(window.astype(np.int64))
        with torch.no_grad():
            # The library's own loss, mean over the predicted tokens of one text.
            total += float(llama.model(ids[None], labels=ids[None]).loss) * 8
    count, nll = prompt_scores.perplexity(llama, windows, tokens_per_pass=20)
    assert count == 40
    assert nll == pytest.approx(total / 40, rel=1e-5)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_greedy_generation_is_the_whole_models_whatever_its_settings(kind):
    lm = tiny.model(kind)
    lm.model.generation_config.do_sample = True
    lm.model.generation_config.temperature = 9.0
    rows = [lm.tokenizer(text)["input_ids"] for text in ("In Paris", "The capital of France", "I")]
    for row, made in zip(rows, lm.greedy(rows, 6), strict=True):
        ids = list(row)
        for _ in range(6):
            with torch.no_grad():
                best = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
            if best == lm.tokenizer.eos_token_id:
                break
            ids.append(best)
        assert made == ids[len(row) :]


def test_only_requests_asked_for_are_answered(llama, requests):
    rows = prompt_scores.score_requests(llama, requests[:2], [0, 1], frozenset({1}), 4)
    answered = [(r["order"], r["kind"], r["answer"]) for r in rows if r["answer"]]
    target = requests[1].target_new
    assert answered == [(1, kind, target) for kind in ("edit", "paraphrase", "paraphrase")]
    (expected,) = prompt_scores.generate(llama, [requests[1].text], 4)
    assert next(r["generated"] for r in rows if r["answer"]) == expected


def test_questions_about_instances_are_answered_after_two_examples(llama, requests):
    asked = ("Whether euro belongs to category money?", "Whether Rome belongs to category money?")
    rows = prompt_scores.score_requests(llama, [replace(requests[0], instances=asked)], [4])
    found = [row for row in rows if row["kind"] == "instance"]
    assert [(row["order"], row["prompt"]) for row in found] == [(4, 0), (4, 1)]
    for row, question in zip(found, asked, strict=True):
        text = prompt_scores.INSTANCE_EXAMPLES + question
        ids = llama.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            for _ in range(2):
                chosen = llama.model(ids).logits[0, -1].argmax()
                ids = torch.cat([ids, chosen[None, None]], dim=1)
        expected = llama.tokenizer.decode(ids[0, -2:], skip_special_tokens=True)
        assert row["generated"] == expected
        assert set(row) == set(prompt_scores.COLUMNS)


def test_free_texts_go_on_from_their_prompts_and_come_again(llama, requests):
    first = replace(requests[0], generation=("Paris is the", "In Paris one"))
    rows = prompt_scores.free_texts(llama, [first, requests[1]], [0, 1], 20)
    assert [(r["order"], r["kind"], r["prompt"]) for r in rows] == [
        (0, "text", 0), (0, "text", 1), (1, "text", 0),
    ]  # fmt: skip
    prompts = [*first.generation, requests[1].text]
    for row, prompt in zip(rows, prompts, strict=True):
        assert str(row["generated"]).startswith(prompt)
    # The same in another company: a text's random numbers are its prompt's own.
    again = prompt_scores.free_texts(llama, [requests[1], first], [1, 0], 20)
    assert sorted(map(str, again)) == sorted(map(str, rows))


def test_free_texts_take_the_likeliest_tokens_only(llama):
    """Every token is one of the five likeliest after what stands before it."""
    (text,) = sampling.continue_texts(llama, ["The capital of"], 16, top_k=5)
    assert text.startswith("The capital of")
    (greedy,) = sampling.continue_texts(llama, ["The capital of"], 16, top_k=1)
    ids = llama.tokenizer("The capital of", return_tensors="pt")["input_ids"]
    while ids.shape[1] < 16:
        with torch.no_grad():
            chosen = llama.model(ids).logits[0, -1].argmax()
        ids = torch.cat([ids, chosen[None, None]], dim=1)
    assert greedy == llama.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert sampling.continue_texts(llama, ["The capital of"], 2, top_k=5) == ["The capital of"]
