"""Second moments of keys: C = E[k k^T] over a corpus, uncentred, per token.

One truncated pass sums all layers. Files hold sums (float64) and token counts, so that shards can
be added.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mose.errors import StoreError
from mose.linalg.gram import add_gram, mirror
from mose.linalg.second_moment import SecondMoment
from mose.models.causal_lm import CausalLM
from mose.progress import track
from mose.storage import files, hdf5
from mose.storage.symmetric import PackedSymmetric, side_of

logger = logging.getLogger(__name__)

ENOUGH_TOKENS_PER_DIMENSION = 10


def accumulate(
    lm: CausalLM,
    windows: NDArray[np.integer],
    layers: Sequence[int],
    include_first: bool,
    tokens_per_pass: int = 2048,
) -> tuple[dict[int, Tensor], int]:
    """Sums of k k^T (d_in, d_in) float64 over token windows (n, T), by layer, and the token count.

    include_first: include the keys at the first position of each window. In many models they
    differ from all others (attention sinks); published code differs here, our default is no.
    """
    first = 0 if include_first else 1
    sums = {
        layer: torch.zeros((lm.weight(layer).shape[1],) * 2, dtype=torch.float64, device=lm.device)
        for layer in layers
    }
    rows = max(1, tokens_per_pass // windows.shape[1])
    for start in track(range(0, len(windows), rows), "second moments"):
        ids = torch.from_numpy(windows[start : start + rows].astype(np.int64))
        trace = lm.truncated(ids, torch.ones_like(ids), layers)
        for layer, keys in trace.inputs.items():
            # Products in float32: as exact as the keys, and twice as fast. Sums over passes in
            # float64, so that the error does not grow with the corpus.
            add_gram(sums[layer], keys[:, first:].reshape(-1, keys.shape[-1]).float())
    count = len(windows) * (windows.shape[1] - first)
    # Copied and released layer by layer to save device memory.
    return {layer: mirror(sums.pop(layer)).cpu() for layer in layers}, count


def save(
    path: str | Path,
    sums: Mapping[int, Tensor],
    count: int,
    provenance: hdf5.Attributes,
    windows: str,
    shard: tuple[int, int],
) -> str:
    """Write sums (d_in, d_in), as packed triangles, and the token count; returns the file's digest.

    provenance: attributes common to all shards (model, corpus, window, include_first, dtype).
    windows: digest of the token windows. shard: (index, number of shards); (0, 1) for a whole
    corpus.
    """
    arrays = {
        f"layers/{layer}/sum": PackedSymmetric(total.numpy()) for layer, total in sums.items()
    }
    attributes = {
        **provenance,
        "windows": windows,
        "tokens": count,
        "dtype": "float64",
        "shard": shard[0],
        "shards": shard[1],
    }
    return hdf5.write(path, "moments", arrays, attributes)


def write_shard(
    path: str | Path,
    lm: CausalLM,
    source: str | Path,
    layers: Sequence[int],
    include_first: bool,
    dtype: str,
    shard: tuple[int, int],
) -> str:
    """Sum k k^T over a file of token windows, and write the sums; returns the file's digest.

    source: HDF5 file of token windows. dtype: name of the model's dtype. shard: as in `save`.
    Raises StoreError for windows of another model, ConfigError for layers out of range.
    """
    lm.check_layers(layers, "methods.*.layers")
    summed = sum_windows(lm, source, layers, include_first, dtype)
    return save(path, summed.sums, summed.tokens, summed.provenance, summed.windows, shard)


@dataclass(frozen=True)
class Summed:
    """Sums (d_in, d_in) of a file of token windows by layer, their number of tokens, and the
    `provenance` and digest of the windows that `save` takes."""

    sums: dict[int, Tensor]
    tokens: int
    provenance: dict[str, str | int | float | bool]
    windows: str


def sum_windows(
    lm: CausalLM, source: str | Path, layers: Sequence[int], include_first: bool, dtype: str
) -> Summed:
    """Sum k k^T of `layers` over a file of token windows; arguments and errors as `write_shard`."""
    windows = hdf5.read(source, "windows")
    check_model(source, windows, lm.fingerprint)
    ids = windows.arrays["ids"]
    sums, count = accumulate(lm, ids, layers, include_first)
    provenance = {
        "model": lm.fingerprint,
        "corpus": windows.attributes["options"],
        "window": ids.shape[1],
        "include_first": include_first,
        "model_dtype": dtype,
    }
    return Summed(sums, count, provenance, windows.digest)


def add_shards(paths: Sequence[str | Path], path: str | Path) -> int:
    """Add all shards of a corpus, and write the sum to `path`; returns the token count.

    Raises StoreError for missing or repeated shards, or shards of different corpora or models.
    """
    total: dict[str, NDArray] = {}
    count, windows, expected = 0, {}, None
    for shard in paths:
        contents = hdf5.read(shard, "moments")
        per_shard = ("tokens", "shard", "windows")
        common = {k: v for k, v in contents.attributes.items() if k not in per_shard}
        expected = expected or common
        if common != expected:
            differing = sorted(k for k in common if common[k] != expected.get(k))
            raise StoreError(f"{shard}: is of another corpus or model ({', '.join(differing)})")
        windows[int(contents.attributes["shard"])] = contents.attributes["windows"]
        count += int(contents.attributes["tokens"])
        for name, array in contents.arrays.items():
            total[name] = np.add(total[name], array, out=array) if name in total else array
    indices = range(len(paths))
    if expected is None or len(paths) != expected["shards"] or set(windows) != set(indices):
        raise StoreError(
            f"{path}: needs every shard once, found {sorted(windows)} in {len(paths)} files; "
            "delete the shards and run again"
        )
    attributes = {
        **expected,
        "windows": files.digest_of([windows[i] for i in indices]),
        "tokens": count,
        "shard": 0,
        "shards": 1,
    }
    hdf5.write(path, "moments", total, attributes)
    for name, array in total.items():
        width = side_of(array.size)
        if count < ENOUGH_TOKENS_PER_DIMENSION * width:
            logger.warning(
                "%s: %d tokens for a width of %d; at least %d are advised",
                name,
                count,
                width,
                ENOUGH_TOKENS_PER_DIMENSION * width,
            )
    return count


def load(path: str | Path, layers: Sequence[int], fingerprint: str) -> dict[int, SecondMoment]:
    """Second moments of `layers`, by layer; each matrix is read at first use.

    Raises StoreError if the file belongs to another model, or lacks a layer.
    """
    contents = hdf5.read(path, "moments", [])
    check_model(path, contents, fingerprint)
    count = contents.attributes["tokens"]
    names = {layer: f"layers/{layer}/sum" for layer in layers}
    for name in names.values():
        if name not in contents.names:
            raise StoreError(f"{path}: holds no {name}; it has {', '.join(contents.names)}")

    def read(name: str) -> Tensor:
        return torch.from_numpy(hdf5.read_symmetric(path, "moments", name)).div_(count)

    return {
        layer: SecondMoment(partial(read, name), f"{path}: second moment of layer {layer}")
        for layer, name in names.items()
    }


def counts_first(path: str | Path) -> bool:
    """Whether the second moments in a file include the first position of each window.

    Raises StoreError if the file lacks this attribute.
    """
    attributes = hdf5.read(path, "moments", []).attributes
    if "include_first" not in attributes:
        raise StoreError(
            f"{path}: does not say include_first: written by another version of this project; "
            "delete it and run again"
        )
    return bool(attributes["include_first"])


def check_model(path: str | Path, contents: hdf5.Contents, fingerprint: str) -> None:
    """Raise StoreError if a file was computed with another model."""
    file_model = str(contents.attributes["model"])
    if file_model != fingerprint:
        raise StoreError(
            f"{path}: made with model {file_model[:12]}, this is model {fingerprint[:12]}; "
            "delete it and run again"
        )
