"""Next-token distributions of two models, against the whole models' logits prompt by prompt."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from mose.evaluation import next_tokens


def logits_of(lm, text_or_ids):
    ids = text_or_ids
    if isinstance(ids, str):
        ids = lm.tokenizer(ids)["input_ids"]
    with torch.no_grad():
        return lm.model(torch.tensor([ids])).logits[0].double()


def plain(old, new):
    """kl and overlaps of two rows of logits, by loops over numpy."""
    p, q = (np.exp(one - one.max()) / np.exp(one - one.max()).sum() for one in (old, new))
    shares = []
    for k in (1, 5, 10):
        best = [set(np.argsort(-one)[:k]) for one in (p, q)]
        shares.append(len(best[0] & best[1]) / k)
    return [sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True)), *shares]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_rows_are_those_of_two_whole_models(kind, requests):
    lm, unedited, edited = tiny.model(kind), tiny.model(kind), tiny.model(kind)
    change = torch.randn(lm.weight(1).shape, generator=torch.Generator().manual_seed(0))
    weight = lm.weight(1) + 2 * lm.weight(1).norm() / change.norm() * change
    edited.write(1, weight)
    windows = np.random.default_rng(0).integers(1, 200, size=(3, 7)).astype(np.int32)
    places = [4, 7, 9]
    rows = next_tokens.compare(lm, lambda: lm.write(1, weight), requests[:3], places, windows)
    table = pd.DataFrame(rows)
    assert tuple(table.columns) == next_tokens.COLUMNS
    near = table[table["kind"] == "locality"]
    assert near["order"].tolist() == places
    assert near["request"].tolist() == [request.id for request in requests[:3]]
    measures = ["kl", "top1", "top5", "top10"]
    for row, request in zip(near.itertuples(), requests[:3], strict=True):
        text = request.locality[row.prompt].prompt
        pair = [logits_of(model, text)[-1].numpy() for model in (unedited, edited)]
        assert [getattr(row, name) for name in measures] == pytest.approx(plain(*pair), rel=1e-3)
        assert row.kl > 1e-3
    text = table[table["kind"] == "heldout"]
    assert text["order"].tolist() == [-1] * 3
    for row, ids in zip(text.itertuples(), windows.tolist(), strict=True):
        pairs = zip(
            *(logits_of(model, ids)[:-1].numpy() for model in (unedited, edited)), strict=True
        )
        means = np.mean([plain(*pair) for pair in pairs], axis=0)
        assert [getattr(row, name) for name in measures] == pytest.approx(means, rel=1e-3)
        assert row.tokens == 6


def test_no_edit_is_no_difference_and_an_empty_selection_no_row(requests):
    lm = tiny.model()
    none = np.empty((0, 7), dtype=np.int32)
    for row in next_tokens.compare(lm, lambda: None, requests, range(6), none):
        assert (row["kl"], row["top1"], row["top10"]) == (0.0, 1.0, 1.0)
    assert next_tokens.compare(lm, lambda: None, [], [], none) == []
