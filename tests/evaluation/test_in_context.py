"""The in-context row: the fact stands before every prompt, and the weights stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from sequences import UNEDITED, identity
from torch.nn.functional import log_softmax

import mose
from mose.editing import chain, checkpoints, sequence
from mose.editing.in_context import as_asked
from mose.errors import ConfigError
from mose.evaluation import measurement, next_tokens, prompt_scores, segments, stability
from mose.evaluation.measurement import Selection
from mose.facts.requests import Probe
from mose.methods.register import parse_variant

VARIANT = parse_variant(UNEDITED)


def chain_of(requests):
    return chain.Chain(VARIANT, requests, ["{}"], "", 0, 4)


def by_concatenation(lm, request, prompt, target):
    """log p(target) after the fact and a prompt: the whole model on one row without padding."""
    before = f"New Fact: {request.text} {request.target_new}\nPrompt: {prompt}"
    ids = lm.tokenizer(before)["input_ids"]
    target = lm.tokenizer(f" {target}")["input_ids"]
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids + target[:-1]])).logits[0, len(ids) - 1 :]
    return float(log_softmax(logits.double(), -1)[range(len(target)), target].sum())


@pytest.fixture
def requests(requests):
    probe = Probe("People of Kenya speak", "Swahili", "logic")
    return [replace(request, portability=(probe,)) for request in requests]


def test_every_prompt_is_scored_behind_its_fact_in_the_unedited_model(requests):
    lm, untouched = tiny.model(), tiny.model()
    state, rows = segments.edit_segment(lm, chain_of(requests), 4, None, "r.jsonl")
    assert all(torch.equal(lm.weight(la), untouched.weight(la)) for la in range(lm.n_layers))
    kinds = set()
    for row in rows:
        request = requests[row["order"]]
        prompts = {
            "edit": [(request.text, request.target_true)],
            "paraphrase": [(text, request.target_true) for text in request.paraphrases],
            "locality": [(probe.prompt, probe.target) for probe in request.locality],
            "portability:logic": [(probe.prompt, probe.target) for probe in request.portability],
        }
        kinds.add(row["kind"])
        prompt, true = prompts[row["kind"]][row["prompt"]]
        for target, score in ((request.target_new, "logprob_new"), (true, "logprob_true")):
            expected = by_concatenation(untouched, request, prompt, target)
            assert row[score] == pytest.approx(expected, abs=1e-4)
    assert kinds == {"edit", "paraphrase", "locality", "portability:logic"}
    # What the record calls the loss is that of the edit prompt, per token.
    for done, row in zip(state.diagnoses, [r for r in rows if r["kind"] == "edit"], strict=True):
        assert done.loss == pytest.approx(-row["logprob_new"] / row["tokens_new"], abs=1e-5)


def test_a_checkpoint_restores_and_measures_the_same(requests, tmp_path):
    lm, run = tiny.model(), chain_of(requests)
    state, rows = segments.edit_segment(lm, run, 4, None, "r.jsonl")
    checkpoints.save(tmp_path / "edits4.h5", state, identity(VARIANT), requests)
    fresh = tiny.model()
    weights = {layer: fresh.weight(layer) for layer in VARIANT.edit.layers}
    resumed = sequence.State(sequence.make_editors(weights, {}, VARIANT))
    checkpoints.load(tmp_path / "edits4.h5", resumed, identity(VARIANT), requests)
    assert resumed.edits == 4
    assert resumed.diagnoses == state.diagnoses
    sequence.put_into(fresh, resumed, measured=True)
    assert measurement.score_selection(fresh, run.asked, Selection(0, 4), "r.jsonl") == rows
    unedited = {layer: tiny.model().weight(layer) for layer in weights}
    for row in stability.measure_state(resumed, unedited, torch.float32):
        assert row["relative_change"] == 0
        assert row["frobenius_ratio"] == row["condition_ratio"] == 1


def test_generated_answers_and_next_tokens_are_behind_the_fact(requests):
    lm = tiny.model()
    asked = as_asked(VARIANT, requests)
    rows = prompt_scores.score_requests(lm, asked[:1], [0], frozenset({0}), 4)
    expected = prompt_scores.generate(lm, [asked[0].text], 4)
    assert [row["generated"] for row in rows if row["kind"] == "edit"] == expected
    none = np.zeros((0, 4), dtype=np.int32)
    moved = next_tokens.compare(lm, lambda: None, requests[:2], [0, 1], none, asked[:2])
    for row, request, behind in zip(moved, requests[:2], asked[:2], strict=True):
        texts = request.locality[0].prompt, behind.locality[0].prompt
        states = [next_tokens.last_states(lm, [text]) for text in texts]
        assert row["kl"] == pytest.approx(float(next_tokens.differences(lm, *states)[0, 0]))
        assert row["kl"] > 1e-3


def test_all_texts_of_a_request_have_the_statement_once_and_nothing_else_changes(requests):
    full = replace(requests[0], instances=("Is it so?",), generation=("They say that",))
    variant = parse_variant({**UNEDITED, "statement": "It is true that {}. "})
    (asked,) = as_asked(variant, [full])
    before = f"It is true that {full.text} {full.target_new}. "
    assert asked.text == before + full.text
    for name in ("paraphrases", "instances", "generation"):
        assert getattr(asked, name) == tuple(before + text for text in getattr(full, name))
    for name in ("locality", "portability"):
        expected = [replace(p, prompt=before + p.prompt) for p in getattr(full, name)]
        assert list(getattr(asked, name)) == expected
    same = ("id", "subject", "target_new", "target_true", "relation", "references")
    assert all(getattr(asked, name) == getattr(full, name) for name in same)
    other = parse_variant({"method": "ft", "layers": [1]})
    assert as_asked(other, [full]) == [full]


@pytest.mark.parametrize(
    ("subject", "target"), [("{}", "Rome"), ("France", "{}"), ("set {}", "a {0} {x} {}")]
)
def test_a_fact_may_have_braces(requests, subject, target):
    request = replace(requests[0], subject=subject, target_new=target)
    (asked,) = as_asked(VARIANT, [request])
    before = f"New Fact: {request.text} {target}\nPrompt: "
    assert asked.text == before + request.text
    assert asked.paraphrases == tuple(before + text for text in request.paraphrases)
    # The statement as such may have single braces and names in them.
    variant = parse_variant({**UNEDITED, "statement": "{x} {0} {}. "})
    (asked,) = as_asked(variant, [request])
    assert asked.text == f"{{x}} {{0}} {request.text} {target}. {request.text}"
    segments.edit_segment(tiny.model(), chain_of([request, *requests]), 4, None, "r.jsonl")


@pytest.mark.parametrize("statement", ["New Fact.", "{} and {}"])
def test_a_statement_without_one_place_for_the_fact_is_refused(statement):
    with pytest.raises(ConfigError, match=r"m\.statement: found .*expected a text"):
        parse_variant({**UNEDITED, "statement": statement}, "m")


def test_it_is_no_method_of_an_editor():
    lm = tiny.model()
    with pytest.raises(ConfigError, match="in-context changes no weights"):
        mose.Editor(lm.model, lm.tokenizer, **UNEDITED)
