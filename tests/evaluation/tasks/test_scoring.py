"""What a model answers, against slow passes one by one over the whole text, without a cache."""

import copy
import math

import pytest
import tiny
import torch
from tokenizers.processors import TemplateProcessing

from mose.errors import RequestError
from mose.evaluation.tasks import items, scoring
from mose.evaluation.tasks.definition import parse_task
from mose.models.tokens import encode, pad

PROMPTS = [
    "The capital of France is",
    "Italy",
    "You may visit São Paulo, Zürich or Reykjavík; I would rather stay. The city of Madrid lies in",
    "Because the chemical symbol for gold",
]


def slow_logprob(lm, prompt, answer):
    """By one pass over the whole text, all logits."""
    start = len(encode(lm.tokenizer, prompt)[0])
    ids = torch.tensor([encode(lm.tokenizer, f"{prompt} {answer}")[0]])
    logits = lm.model(ids).logits[0].double().log_softmax(-1)
    places = range(start - 1, ids.shape[1] - 1)
    return sum(logits[i, ids[0, i + 1]].item() for i in places)


def slow_greedy(lm, prompt, steps):
    """No batch, no cache, no padding."""
    ids = encode(lm.tokenizer, prompt)[0]
    new = []
    for _ in range(steps):
        token = int(lm.model(torch.tensor([ids + new])).logits[0, -1].argmax())
        if token == lm.tokenizer.eos_token_id:
            break
        new.append(token)
    return lm.tokenizer.decode(new, clean_up_tokenization_spaces=False)


def made(kind, entries, **entry):
    task = parse_task(
        {"kind": kind, "source": {"file": "x"}, "prompt": "{q}", **entry}, "tasks.mine"
    )
    return items.Prepared("mine", task, "", tuple(entries))


CHOICES = [
    items.Item(3 * i, prompt, ("Paris", "Rome and Madrid", "Au"), i % 3)
    for i, prompt in enumerate(PROMPTS)
]
GIVEN = {"choices": "c", "label": "l"}


def by_item(outcome):
    found = {}
    for row in outcome.rows:
        found.setdefault(row["item"], {})[row["metric"]] = row["value"]
    return found


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_choices_by_plain_and_by_normalised_likelihood(kind):
    lm = tiny.model(kind)
    found = by_item(scoring.evaluate(lm, made("choice", CHOICES, **GIVEN)))
    assert list(found) == [0, 3, 6, 9]
    for item in CHOICES:
        slow = [slow_logprob(lm, item.prompt, choice) for choice in item.choices]
        row = found[item.item]
        assert [row[f"logprob_{i}"] for i in range(3)] == pytest.approx(slow, abs=1e-4)
        each = [total / len(c) for total, c in zip(slow, item.choices, strict=True)]
        assert row["choice"] == slow.index(max(slow))
        assert row["choice_norm"] == each.index(max(each))
        assert row["correct"] == (row["choice"] == item.label)
        wrong = max(total for i, total in enumerate(slow) if i != item.label)
        assert row["margin"] == pytest.approx(slow[item.label] - wrong, abs=1e-4)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_padding_on_either_side_gives_the_same_states(kind):
    lm = tiny.model(kind)
    rows = [encode(lm.tokenizer, prompt)[0] for prompt in PROMPTS]
    right, left = (lm.hidden(*pad(rows, side)) for side in ("right", "left"))
    for i, row in enumerate(rows):
        torch.testing.assert_close(right[i, : len(row)], left[i, -len(row) :], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_text_is_greedy_whatever_it_is_batched_with(kind):
    lm = tiny.model(kind)
    slow = [slow_greedy(lm, prompt, 8).strip() for prompt in PROMPTS]
    assert scoring.generate(lm, PROMPTS, 8) == slow
    assert scoring.generate(lm, PROMPTS, 8, tokens_per_batch=1) == slow
    assert len(set(slow)) > 1


def test_the_models_generation_config_changes_nothing_but_where_a_text_ends():
    lm = tiny.model("llama")
    before = scoring.generate(lm, PROMPTS, 8)
    for name, value in {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0}.items():
        setattr(lm.model.generation_config, name, value)
    assert scoring.generate(lm, PROMPTS, 8) == before
    ids = encode(lm.tokenizer, PROMPTS[0])[0]
    second = lm.model(torch.tensor([ids])).logits[0, -1].argmax()
    lm.model.generation_config.eos_token_id = [int(second)]
    assert scoring.generate(lm, PROMPTS[:1], 8) == [""]


def test_a_stop_string_ends_the_answer_only_after_its_leading_whitespace(monkeypatch):
    lm = tiny.model("llama")
    said = lm.tokenizer("\n\n Paris\nRome")["input_ids"]
    steps = iter(said)

    def head(_states):
        return torch.nn.functional.one_hot(torch.tensor([next(steps)]), len(lm.tokenizer)).float()

    monkeypatch.setattr(lm.model, "get_output_embeddings", lambda: head)
    assert scoring.generate(lm, ["Q"], 40, ["\n"]) == ["Paris"]
    assert len(list(steps)) < len(said) - 4, "nothing is generated after the stop"


def test_generated_text_is_scored_and_kept():
    lm = tiny.model("llama")
    said = slow_greedy(lm, PROMPTS[0], 4).strip()
    asked = [
        items.Item(0, PROMPTS[0], answers=("no", said)),
        items.Item(5, PROMPTS[1], answers=("no",)),
    ]
    outcome = scoring.evaluate(
        lm, made("generate", asked, answer="a", metrics=["token_f1"], max_tokens=4)
    )
    found = by_item(outcome)
    assert found[0]["token_f1"] == 1.0
    assert found[5]["token_f1"] < 1.0
    assert outcome.texts[0] == {"task": "mine", "item": 0, "prompt": PROMPTS[0], "answer": said}


def test_a_continuation_is_right_if_every_token_is_the_likeliest():
    lm = tiny.model("llama")
    # A text that the model itself goes on with, and one that it does not.
    asked = [items.Item(i, prompt, answers=("Paris",)) for i, prompt in enumerate(PROMPTS)]
    found = by_item(scoring.evaluate(lm, made("continuation", asked, answer="a")))
    for item in asked:
        prompt = len(encode(lm.tokenizer, item.prompt)[0])
        ids = torch.tensor([encode(lm.tokenizer, f"{item.prompt} Paris")[0]])
        own = lm.model(ids).logits[0, prompt - 1 : -1].argmax(-1)
        assert found[item.item]["correct"] == float(torch.equal(own, ids[0, prompt:]))
        slow = slow_logprob(lm, item.prompt, "Paris")
        assert found[item.item]["logprob"] == pytest.approx(slow, abs=1e-4)


@pytest.mark.parametrize(
    ("count", "length", "stride"), [(50, 16, 8), (50, 16, 15), (5, 16, 8), (2, 2, 1), (33, 16, 1)]
)
def test_windows_predict_every_token_but_the_first_once(count, length, stride):
    found = scoring.windows(count, length, stride)
    predicted = [place for w in found for place in range(w.first, w.stop)]
    assert predicted == list(range(1, count))
    assert all(w.stop - w.start <= length for w in found)
    assert all(w.first - w.start >= length - stride for w in found[1:])


def text_task(**entry):
    task = parse_task({"kind": "perplexity", "source": {"file": "x"}, **entry}, "tasks.text")
    return items.Prepared("text", task, "", text=" ".join(tiny.TEXT[:3]))


def test_the_perplexity_of_one_window_is_that_of_the_text():
    lm = tiny.model("llama")
    prepared = text_task(window=128, stride=64)
    ids = torch.tensor([lm.tokenizer(prepared.text)["input_ids"]])
    assert ids.shape[1] < 128
    found = by_item(scoring.evaluate(lm, prepared))
    loss = float(lm.model(ids, labels=ids).loss)
    assert found[0]["tokens"] == ids.shape[1] - 1
    assert math.exp(found[0]["nll"] / found[0]["tokens"]) == pytest.approx(math.exp(loss), rel=1e-5)


def test_every_sliding_window_sees_its_own_context_and_no_more():
    lm = tiny.model("llama")
    prepared = text_task(window=16, stride=6)
    ids = torch.tensor(lm.tokenizer(prepared.text)["input_ids"])
    found = by_item(scoring.evaluate(lm, prepared))
    done = 1
    for i, row in found.items():
        stop = min(6 * i + 16, len(ids))
        logits = lm.model(ids[None, 6 * i : stop]).logits[0].log_softmax(-1)
        slow = -sum(float(logits[p - 1 - 6 * i, ids[p]]) for p in range(done, stop))
        assert row["nll"] == pytest.approx(slow, rel=1e-4)
        done = stop
    assert done == len(ids)
    some = by_item(scoring.evaluate(lm, text_task(window=16, stride=6, samples=3)))
    assert len(some) == 3
    assert all(found[i]["nll"] == pytest.approx(row["nll"], rel=1e-5) for i, row in some.items())


@pytest.mark.parametrize(("window", "stride"), [(16, 6), (16, 15), (3, 2)])
def test_every_window_begins_with_the_start_token_of_the_model(window, stride):
    lm = tiny.model("llama")
    prepared = text_task(window=window, stride=stride)
    ids = lm.tokenizer(prepared.text)["input_ids"]
    begin = lm.tokenizer.vocab_size - 1
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[S] $A", special_tokens=[("[S]", begin)]
    )
    found = by_item(scoring.evaluate(lm, prepared))
    done = 1
    for i, row in found.items():
        first = i * stride
        stop = min(first + window - 1, len(ids))
        own = torch.tensor([[begin, *ids[first:stop]]])
        logits = lm.model(own).logits[0].log_softmax(-1)
        # Position 0 is the start token's: token p of the text is told at p - first.
        slow = -sum(float(logits[p - first, ids[p]]) for p in range(done, stop))
        assert row["nll"] == pytest.approx(slow, rel=1e-4)
        assert row["tokens"] == stop - done
        done = stop
    assert done == len(ids)


def test_what_is_longer_than_the_context_is_left_out_and_counted(caplog):
    lm = tiny.model("gpt2")
    asked = [*CHOICES, items.Item(99, "word " * 200, ("Paris", "Rome", "Au"), 0)]
    found = by_item(scoring.evaluate(lm, made("choice", asked, **GIVEN)))
    assert list(found) == [0, 3, 6, 9]
    assert (
        "tasks.mine: 1 of 5 items left out, longer than the model's context of 128" in caplog.text
    )
    with pytest.raises(RequestError, match="no item fits into 128 tokens"):
        scoring.evaluate(lm, made("choice", asked[-1:], **GIVEN))
    with pytest.raises(RequestError, match=r"tasks.text.window: 129 tokens, the model takes 128"):
        scoring.evaluate(lm, text_task(window=129, stride=64))
