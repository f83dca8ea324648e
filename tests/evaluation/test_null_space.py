"""The size of AlphaEdit's null space: both shares are of the same kind of key."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from mose.errors import ConfigError, StoreError
from mose.evaluation import null_space
from mose.methods.register import parse_variant
from mose.models import sources
from mose.statistics import second_moments
from mose.storage import files, hdf5

ROOT = Path(__file__).parents[2]
WINDOWS = np.random.default_rng(0).integers(1, 300, size=(60, 6)).astype(np.int32)
VARIANT = {
    "method": "alphaedit", "layers": [1, 2], "learning_rate": 0.1, "null_space": "energy",
    "null_energy": 0.7,
}  # fmt: skip


def save_moments(path, lm, **provenance):
    sums, count = second_moments.accumulate(
        lm, WINDOWS, [1, 2], provenance.get("include_first", False)
    )
    second_moments.save(
        path, sums, count, {"model": lm.fingerprint, **provenance}, "windows", (0, 1)
    )


def by_definition(lm, layer, include_first):
    """Rank of P, and tr(P C) / tr(C) key by key, from the inputs of the whole model."""
    seen = []
    hook = lm.projection(layer).register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    with torch.no_grad():
        lm.model(torch.from_numpy(WINDOWS.astype(np.int64)))
    hook.remove()
    keys = seen[0][:, 0 if include_first else 1 :].reshape(-1, 48).double()
    values, vectors = torch.linalg.eigh(keys.mT @ keys)
    shares = values.flip(0).cumsum(0) / values.sum()
    leading = next(n for n in range(1, 49) if shares[n - 1] >= 0.7)
    through = keys @ vectors[:, : 48 - leading]
    return 48 - leading, float((through**2).sum() / (keys**2).sum())


@pytest.mark.parametrize("include_first", [True, False])
def test_the_program_takes_the_keys_that_the_second_moments_are_of(tmp_path, include_first):
    """Of held-out text that is the corpus itself, both shares are the same one."""
    source = {"local": str(tiny.save(tmp_path / "model"))}
    manifest = sources.obtain(source, tmp_path / "weights")
    files.write_json(tmp_path / "manifest.json", manifest)
    lm = tiny.model()
    lm.fingerprint = manifest["fingerprint"]
    save_moments(tmp_path / "moments.h5", lm, include_first=include_first)
    hdf5.write(
        tmp_path / "heldout.h5", "windows", {"ids": WINDOWS}, {"model": manifest["fingerprint"]}
    )
    subprocess.run(
        [
            sys.executable, "scripts/null_space.py", "--model", tmp_path / "manifest.json",
            "--device", "cpu", "--variant", json.dumps(VARIANT),
            "--moments", tmp_path / "moments.h5", "--heldout", tmp_path / "heldout.h5",
            "--out", tmp_path / "null.csv",
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "null.csv").set_index("layer")
    assert list(table.index) == [1, 2]
    assert (table["heldout_tokens"] == 60 * (6 if include_first else 5)).all()
    for layer, row in table.iterrows():
        rank, share = by_definition(lm, layer, include_first)
        assert (row["width"], row["rank"]) == (48, rank)
        assert row["corpus_share"] == pytest.approx(share, rel=1e-5)
        assert row["heldout_share"] == pytest.approx(row["corpus_share"], rel=1e-12)


def test_what_a_file_does_not_say_and_what_has_no_null_space_are_refused(tmp_path):
    lm = tiny.model()
    save_moments(tmp_path / "moments.h5", lm)
    with pytest.raises(StoreError, match=r"moments\.h5: does not say include_first"):
        null_space.measure(lm, tmp_path / "moments.h5", WINDOWS, parse_variant(VARIANT).edit)
    memit = parse_variant({"method": "memit", "layers": [1], "learning_rate": 0.1, "lambda": 1.0})
    with pytest.raises(ConfigError, match="method: found MemitOptions, expected AlphaEditOptions"):
        null_space.measure(lm, tmp_path / "moments.h5", WINDOWS, memit.edit)
