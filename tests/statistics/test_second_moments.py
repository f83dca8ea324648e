import logging

import numpy as np
import pytest
import torch

from mose.errors import NumericalError, StoreError
from mose.linalg import second_moment
from mose.statistics import corpus, second_moments
from mose.storage import files, hdf5

WINDOWS = np.random.default_rng(0).integers(1, 300, size=(9, 12)).astype(np.int32)
PROVENANCE = {"model": "tiny-llama-0", "corpus": "c", "window": 12, "include_first": False}


def by_definition(lm, layer, include_first):
    """E[k k^T] token by token, from the inputs that the whole model gives its projection."""
    total, count = np.zeros((48, 48)), 0
    for window in WINDOWS:
        seen = []
        hook = lm.projection(layer).register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append(args[0][0].double().numpy())
        )
        with torch.no_grad():
            lm.model(torch.from_numpy(window[None].astype(np.int64)))
        hook.remove()
        for key in seen[0][0 if include_first else 1 :]:
            total += np.outer(key, key)
            count += 1
    return total / count, count


@pytest.mark.parametrize("include_first", [True, False])
def test_one_pass_over_all_layers_is_the_definition_of_each(llama, include_first):
    sums, count = second_moments.accumulate(
        llama, WINDOWS, [0, 2], include_first, tokens_per_pass=40
    )
    for layer in (0, 2):
        expected, tokens = by_definition(llama, layer, include_first)
        assert count == tokens
        assert np.allclose(sums[layer].numpy() / count, expected, rtol=1e-4, atol=1e-7)
        assert sums[layer].dtype == torch.float64


def save_shards(llama, folder, shards=3, **changed):
    paths = []
    for shard in range(shards):
        sums, count = second_moments.accumulate(llama, WINDOWS[shard::shards], [0, 2], False)
        paths.append(folder / f"shard{shard}.h5")
        second_moments.save(
            paths[-1], sums, count, {**PROVENANCE, **changed}, f"w{shard}", (shard, shards)
        )
    return paths


def test_shards_add_up_to_one_pass(llama, tmp_path):
    second_moments.add_shards(save_shards(llama, tmp_path), tmp_path / "moments.h5")
    sums, count = second_moments.accumulate(llama, WINDOWS, [0, 2], False)
    found = second_moments.load(tmp_path / "moments.h5", [0, 2], "tiny-llama-0")
    for layer in (0, 2):
        assert torch.allclose(found[layer].matrix, sums[layer] / count, rtol=1e-6, atol=1e-9)
        assert torch.equal(found[layer].matrix, found[layer].matrix.mT)
    attributes = hdf5.read(tmp_path / "moments.h5", "moments").attributes
    assert attributes["tokens"] == count
    assert attributes["corpus"] == "c"
    assert attributes["windows"] == files.digest_of(["w0", "w1", "w2"])


def test_missing_doubled_and_foreign_shards_are_refused(llama, tmp_path):
    paths = save_shards(llama, tmp_path)
    for wrong in (paths[:2], [*paths[:2], paths[1]]):
        with pytest.raises(StoreError, match="needs every shard once"):
            second_moments.add_shards(wrong, tmp_path / "m.h5")
    (tmp_path / "other").mkdir()
    other = save_shards(llama, tmp_path / "other", corpus="another")
    with pytest.raises(StoreError, match=r"another corpus or model \(corpus\)"):
        second_moments.add_shards([*paths[:2], other[2]], tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_too_few_tokens_are_a_warning_with_the_numbers(llama, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        second_moments.add_shards(save_shards(llama, tmp_path), tmp_path / "moments.h5")
    assert "99 tokens for a width of 48; at least 480 are advised" in caplog.text


def test_moments_of_another_model_are_refused(llama, tmp_path):
    second_moments.add_shards(save_shards(llama, tmp_path), tmp_path / "moments.h5")
    with pytest.raises(StoreError, match="made with model tiny-llama-0, this is model other"):
        second_moments.load(tmp_path / "moments.h5", [0], "other")
    with pytest.raises(StoreError, match="holds no layers/1/sum"):
        second_moments.load(tmp_path / "moments.h5", [1], "tiny-llama-0")


def test_solving_with_the_moment_and_a_singular_one():
    keys = torch.randn(5, 40, dtype=torch.float64)
    moment = second_moment.SecondMoment(keys @ keys.mT)
    assert torch.allclose(moment.matrix @ moment.solve(keys[:, :3]), keys[:, :3])
    thin = second_moment.SecondMoment(keys[:, :2] @ keys[:, :2].mT, "layer 6")
    with pytest.raises(NumericalError, match="layer 6 is singular: too few tokens"):
        thin.solve(keys)
    assert torch.equal(second_moment.identity(5).solve(keys), keys)


@pytest.mark.parametrize("include_first", [False, True])
def test_a_shard_is_the_sum_of_its_windows_and_says_what_it_was_made_from(
    llama, tmp_path, include_first
):
    options = {
        "source": "sampled",
        "tokens": 64,
        "heldout": 16,
        "window": 8,
        "shards": 2,
        "seed": 0,
    }
    corpus.write_part(tmp_path / "w.h5", llama, options, "windows1")
    windows = corpus.part(llama, options, "windows1")
    second_moments.write_shard(
        tmp_path / "s.h5", llama, tmp_path / "w.h5", [1], include_first, "float32", (1, 2)
    )
    sums, count = second_moments.accumulate(llama, windows, [1], include_first)
    stored = hdf5.read_symmetric(tmp_path / "s.h5", "moments", "layers/1/sum")
    torch.testing.assert_close(torch.from_numpy(stored), sums[1], rtol=0, atol=0)
    attributes = hdf5.read(tmp_path / "s.h5", "moments", []).attributes
    assert attributes["tokens"] == count == windows.size - (0 if include_first else len(windows))
    assert (attributes["shard"], attributes["shards"]) == (1, 2)
    assert attributes["model"] == llama.fingerprint
    assert attributes["corpus"] == files.digest_of(options)
    assert (attributes["window"], attributes["model_dtype"]) == (8, "float32")
