"""Edit prompts behind unrelated text: what the text may hold, and plain passes over the whole."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from mose.errors import ConfigError
from mose.evaluation import measurement, prefixes
from mose.evaluation.measurement import Selection
from mose.storage import hdf5

TOKENS = 12


@pytest.fixture
def ids(llama):
    """Token ids of text that names subjects and objects of the requests."""
    return np.array(llama.tokenizer(" ".join(tiny.TEXT))["input_ids"], dtype=np.int32)


@pytest.fixture
def heldout(llama, ids, tmp_path):
    path = tmp_path / "heldout.h5"
    windows = ids[: len(ids) // 16 * 16].reshape(-1, 16)
    hdf5.write(path, "windows", {"ids": windows}, {"model": llama.fingerprint})
    return path


def test_a_text_is_a_piece_of_the_held_out_one_and_names_nothing_of_its_request(
    llama, ids, requests
):
    pieces = {
        llama.tokenizer.decode(ids[i : i + TOKENS].tolist()).strip("\ufffd \t\r\n")
        for i in range(len(ids) - TOKENS + 1)
    }
    many = [
        replace(requests[i % 6], id=f"r{i}", subject=subject, target_new=new, target_true=true)
        for i, (subject, new, true) in enumerate(
            [("France", "Rome", "Paris"), ("Spain", "Berlin", "madrid"), ("gold", "Fe", "Au")] * 40
        )
    ]
    found = [prefixes.unrelated(llama.tokenizer, ids, TOKENS, one) for one in many]
    for text, one in zip(found, many, strict=True):
        assert text in pieces
        words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
        named = {one.subject.casefold(), one.target_new.casefold(), one.target_true.casefold()}
        assert not named & set(words), (text, named)
    # Without names to avoid, such pieces are drawn: the check above can fail.
    free = [
        prefixes.unrelated(
            llama.tokenizer, ids, TOKENS, replace(one, subject="x", target_new="y", target_true="")
        )
        for one in many
    ]
    assert any("Rome" in text for text in free)
    assert len(set(found)) > 20
    assert found == [prefixes.unrelated(llama.tokenizer, ids, TOKENS, one) for one in many]


def test_a_text_that_cannot_be_had_is_refused(llama, ids, requests):
    one = requests[0]
    with pytest.raises(ConfigError, match=r"prefix_tokens: found 20, expected at most the 10"):
        prefixes.unrelated(llama.tokenizer, ids[:10], 20, one)
    same = np.array(llama.tokenizer("France is France")["input_ids"], dtype=np.int32)
    with pytest.raises(ConfigError, match=r"request capital/France: every piece of"):
        prefixes.unrelated(llama.tokenizer, same, len(same), one)
    # "Francesca" does not name France.
    other = np.array(llama.tokenizer("Francesca")["input_ids"], dtype=np.int32)
    assert prefixes.unrelated(llama.tokenizer, other, len(other), one) == "Francesca"


def test_rows_are_those_of_plain_passes_over_text_and_prompt(llama, ids, heldout, requests):
    rows = prefixes.score_prefixed(llama, requests[1:3], [1, 2], heldout, TOKENS)
    assert [(row["order"], row["kind"], row["prompt"]) for row in rows] == [
        (1, "prefixed", 0),
        (2, "prefixed", 0),
    ]
    kept = ids[: len(ids) // 16 * 16]
    for row, request in zip(rows, requests[1:3], strict=True):
        text = prefixes.unrelated(llama.tokenizer, kept, TOKENS, request)
        for name, target in (("new", request.target_new), ("true", request.target_true)):
            head = llama.tokenizer(f"{text}\n{request.text}")["input_ids"]
            whole = llama.tokenizer(f"{text}\n{request.text} {target}")["input_ids"]
            assert whole[: len(head)] == head
            with torch.no_grad():
                logits = llama.model(torch.tensor([whole])).logits[0].log_softmax(-1)
            steps = [logits[i - 1, whole[i]] for i in range(len(head), len(whole))]
            assert row[f"tokens_{name}"] == len(steps)
            assert row[f"logprob_{name}"] == pytest.approx(float(sum(steps)), rel=1e-4)


def test_only_scored_requests_are_asked_behind_text(llama, heldout, requests):
    selection = Selection(0, 6, earlier=1, recent_from=4, prefixed=5, prefix_tokens=TOKENS)
    rows = measurement.score_selection(llama, requests, selection, "r.jsonl", heldout)
    asked = [row["order"] for row in rows if row["kind"] == "prefixed"]
    assert asked == selection.asked_behind_text(requests)
    assert set(asked) <= set(selection.scored(requests))
    assert 2 <= len(asked) <= 3
    without = replace(selection, prefixed=0)
    plain = measurement.score_selection(llama, requests, without, "r.jsonl")
    assert [row for row in rows if row["kind"] != "prefixed"] == plain
