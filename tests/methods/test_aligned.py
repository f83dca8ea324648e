"""Aligned RECT and PRUNE: the recursion of their authors with the error matrix, solved whole."""

import math

import pytest
import torch
from small_layer import D_IN, D_OUT, draw, make

from mose.errors import ConfigError
from mose.methods.register import parse_variant

BATCHES = 4


def by_largest(change, before, share=0.4):
    """The share of entries with the largest relative change, by sorting them all."""
    relative = (change / before).abs()
    bound = relative.flatten().sort(descending=True).values[math.ceil(share * change.numel()) - 1]
    return torch.where(relative >= bound, change, torch.zeros_like(change))


def by_spectrum(change, before):
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    top = torch.linalg.svdvals(before)[0]
    return u @ torch.diag(torch.where(s > top, top + torch.log(s / top), s)) @ vh


def batches():
    """Keys and wanted values; the values are large, so that PRUNE has something to prune."""
    for number in range(BATCHES):
        yield draw(D_IN, 3, seed=number), 30 * draw(D_OUT, 3, seed=50 + number)


@pytest.mark.parametrize(
    ("name", "reduce"), [("rect-aligned", by_largest), ("prune-aligned", by_spectrum)]
)
def test_it_is_the_authors_recursion_with_the_error_carried_in_a_matrix(
    name, reduce, weight, moment
):
    entry = {"base": "encore", "norm_weight": 1.0, "memory": "keys"}
    editor, _ = make(name, weight, moment, retention=0.5, **entry)
    present, error = weight.double(), torch.zeros(D_OUT, D_IN, dtype=torch.float64)
    system = 0.5 * moment.matrix + torch.eye(D_IN, dtype=torch.float64)
    reduced = 0
    for keys, values in batches():
        residuals = values - present @ keys
        system = system + keys @ keys.mT
        delta = (residuals @ keys.mT - error) @ torch.linalg.inv(system)
        kept = reduce(delta, present)
        reduced += not torch.allclose(kept, delta)
        error = (kept - delta) @ system
        present = present + kept

        editor.update(keys, values - editor.weight.double() @ keys)
        assert editor.finish()
        off = torch.linalg.matrix_norm(editor.weight.double() - present)
        assert off < 1e-5 * torch.linalg.matrix_norm(present)
    assert reduced > 1


def test_before_the_reduction_a_batch_holds_one_solution_for_all_edits(weight, moment):
    editor, _ = make("rect-aligned", weight, moment, kept_share=0.3)
    together, _ = make("memit-keys", weight, moment)
    seen = list(batches())
    keys, values = (torch.cat(parts, dim=1) for parts in zip(*seen, strict=True))
    together.update(keys, values - weight.double() @ keys)
    for part, wanted in seen:
        editor.update(part, wanted - editor.weight.double() @ part)
        whole = editor.weight
        editor.finish()
    assert torch.allclose(whole, together.weight, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(editor.weight, together.weight, atol=0.1)


def test_what_rect_leaves_out_is_made_up_for_later(weight, moment):
    """A batch that asks for nothing moves W on to the base's solution, and naive RECT nowhere."""
    gaps = {}
    for name in ("rect-aligned", "rect"):
        editor, _ = make(name, weight, moment, kept_share=0.3, memory="keys")
        together, _ = make("memit-keys", weight, moment)
        keys, values = next(batches())
        for each in (editor, together):
            each.update(keys, values - weight.double() @ keys)
        editor.finish()
        gaps[name] = [float(torch.dist(editor.weight, together.weight))]
        for _ in range(6):
            editor.update(keys[:, :1], torch.zeros(D_OUT, 1, dtype=torch.float64))
            editor.finish()
        gaps[name].append(float(torch.dist(editor.weight, together.weight)))
    assert gaps["rect"][1] == pytest.approx(gaps["rect"][0], rel=1e-5)
    assert gaps["rect-aligned"][1] < 0.5 * gaps["rect-aligned"][0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "memory: found none, .*set memory: keys"),
        ({"base": "emmet"}, "base: found emmet; .* memory of earlier"),
        ({"base": "rome", "lambda": None}, "base: found rome; .* memory of earlier"),
    ],
)
def test_a_base_without_memory_is_refused(changed, said):
    entry = {"method": "rect-aligned", "layers": [3], "lambda": 1.0, "learning_rate": 0.1}
    entry = {key: value for key, value in {**entry, **changed}.items() if value is not None}
    with pytest.raises(ConfigError, match=said):
        parse_variant(entry)
