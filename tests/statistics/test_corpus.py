"""Corpora and sampled text: seeded, disjoint, and refused when too short."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from scipy import stats
from tokenizers.processors import TemplateProcessing

from mose.errors import ConfigError, RequestError
from mose.models import sampling
from mose.statistics import corpus, templates

OPTIONS = {"source": "sampled", "tokens": 100, "heldout": 30, "window": 10, "shards": 3, "seed": 0}


def parts(llama, **changed):
    options = {**OPTIONS, **changed}
    names = ["heldout", *(f"windows{i}" for i in range(options["shards"]))]
    return [corpus.part(llama, options, name) for name in names]


def test_sampled_parts_have_their_size_and_their_own_text(llama):
    found = parts(llama)
    assert [part.shape for part in found] == [(3, 10), (4, 10), (3, 10), (3, 10)]
    assert all((part[:, 0] == 0).all() for part in found), "each begins with the start token"
    rows = np.concatenate(found)
    assert len(np.unique(rows, axis=0)) == len(rows)
    for again, part in zip(parts(llama), found, strict=True):
        assert np.array_equal(again, part)
    assert not np.array_equal(parts(llama, seed=1)[1], found[1])


def test_a_file_is_cut_into_disjoint_parts_in_order(llama, tmp_path):
    path = tmp_path / "text.jsonl"
    texts = [f"The capital of country {i} is city {i}." for i in range(60)]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    ids = [i for text in texts for i in llama.tokenizer(text)["input_ids"]]
    windows = np.array(ids[: len(ids) // 10 * 10]).reshape(-1, 10)
    heldout, *shards = parts(llama, source={"file": str(path)})
    assert np.array_equal(heldout, windows[:3])
    for i, shard in enumerate(shards):
        assert np.array_equal(shard, windows[3:13][i::3])
    plain = tmp_path / "text.txt"
    plain.write_text("\n\n".join(texts))
    assert parts(llama, source={"file": str(plain)})[0].shape == (3, 10)


def test_every_kind_of_file_gives_the_same_windows(llama, tmp_path):
    texts = [f"The capital of country {i}, they say, is city {i}.\u2028So." for i in range(60)]
    path = tmp_path / "text.jsonl"
    path.write_text("\ufeff" + "\r\n".join(json.dumps({"text": t}) for t in texts))
    expected = parts(llama, source={"file": str(path)})
    frame = pd.DataFrame({"text": texts, "note": "x"})
    frame.to_json(tmp_path / "text.json", orient="records")
    frame.to_csv(tmp_path / "text.csv", sep=";", index=False, encoding="utf-8-sig")
    frame.to_parquet(tmp_path / "text.parquet")
    for end in ("json", "csv", "parquet"):
        same = parts(llama, source={"file": str(tmp_path / f"text.{end}")})
        for one, other in zip(same, expected, strict=True):
            assert np.array_equal(one, other), end


def test_a_byte_order_mark_and_returns_are_no_text(llama, tmp_path):
    text = "The capital of France is Paris.\n\nSo they say.\n" * 20
    (tmp_path / "plain.txt").write_text(text)
    (tmp_path / "other.txt").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    plain, other = (
        parts(llama, source={"file": str(tmp_path / f"{n}.txt")}) for n in ("plain", "other")
    )
    for one, same in zip(plain, other, strict=True):
        assert np.array_equal(one, same)


def test_too_short_and_missing_texts_are_refused(llama, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("The capital of France is Paris.\n")
    with pytest.raises(RequestError, match=r"heldout needs 3 windows of 10 tokens and got \d;"):
        corpus.part(llama, {**OPTIONS, "source": {"file": str(path)}}, "heldout")
    with pytest.raises(RequestError, match=r"none\.txt: no such file \(corpus"):
        corpus.part(llama, {**OPTIONS, "source": {"file": "none.txt"}}, "heldout")
    (tmp_path / "odd.jsonl").write_text('{"body": 1}\n')
    with pytest.raises(RequestError, match="record 1: no field 'text'"):
        corpus.part(llama, {**OPTIONS, "source": {"file": str(tmp_path / "odd.jsonl")}}, "heldout")


def test_a_window_beyond_the_context_is_refused_before_text_is_read(llama):
    with pytest.raises(ConfigError, match=r"corpus\.window: found 129 tokens, the model takes 128"):
        corpus.part(llama, {**OPTIONS, "window": 129}, "heldout")


def test_samples_follow_the_models_distribution(llama):
    ids = torch.full((6000, 1), 7)
    drawn = sampling.sample(llama, ids, 1, torch.Generator().manual_seed(0))[:, 1]
    with torch.no_grad():
        expected = llama.model(torch.tensor([[7]])).logits[0, -1].double().softmax(-1).numpy()
    common = expected * 6000 > 10
    counts = np.bincount(drawn.numpy(), minlength=len(expected))
    observed = np.append(counts[common], counts[~common].sum())
    probability = np.append(expected[common], expected[~common].sum())
    assert stats.chisquare(observed, probability / probability.sum() * 6000).pvalue > 1e-3


def test_draws_are_gumbel_max_and_rounding_of_the_logits_leaves_them_as_they_are():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 20000, generator=generator)
    rounded = logits + 1e-4 * torch.randn(logits.shape, generator=generator)
    drawn, again = (sampling.draw(x, torch.Generator().manual_seed(1)) for x in (logits, rounded))
    same = torch.Generator().manual_seed(1)
    uniform = 1 - torch.rand(logits.shape, generator=same, dtype=torch.float64).numpy()
    expected = (logits.double().numpy() - np.log(-np.log(uniform))).argmax(axis=1)
    np.testing.assert_array_equal(drawn[:, 0].numpy(), expected)
    # Inverting the distribution function, 5 to 13 of the 400 would be others.
    assert (drawn != again).sum() <= 1


def test_top_k_samples_come_from_the_k_likeliest(llama):
    ids = torch.full((300, 1), 7)
    drawn = sampling.sample(llama, ids, 1, torch.Generator().manual_seed(0), top_k=5)[:, 1]
    with torch.no_grad():
        best = llama.model(torch.tensor([[7]])).logits[0, -1].topk(5).indices
    assert set(drawn.tolist()) <= set(best.tolist())
    assert len(set(drawn.tolist())) > 1


def test_templates_are_seeded_and_hold_one_gap(llama):
    made = [
        templates.context_templates(llama, torch.Generator().manual_seed(s), 8, 2)
        for s in (0, 0, 1)
    ]
    assert made[0] == made[1] != made[2]
    assert made[0][0] == "{}"
    assert len(made[0]) == 11
    assert all(template.count("{}") == 1 for template in made[0])
    assert all(template.endswith(". {}") for template in made[0][1:])
    assert templates.context_templates(llama, torch.Generator(), 8, 0) == ["{}"]


def test_every_window_begins_with_the_start_token_of_a_tokenizer_that_sets_one(tmp_path):
    lm = tiny.model("llama")
    bare = lm.tokenizer
    lm.tokenizer = copy.deepcopy(bare)
    start = bare.vocab_size - 1
    lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[S] $A", special_tokens=[("[S]", start)]
    )
    assert lm.tokenizer("It is")["input_ids"] == [start, *bare("It is")["input_ids"]]
    texts = [f"The capital of country {i} is city {i}." for i in range(80)]
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = np.concatenate(parts(lm, source={"file": str(path)}, shards=1))
    assert (found[:, 0] == start).all()
    ids = [i for text in texts for i in bare(text)["input_ids"]]
    assert found[:, 1:].reshape(-1).tolist() == ids[: found[:, 1:].size]
