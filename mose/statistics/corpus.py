"""Token windows for second moments and perplexity, from a file, the hub or the model itself.

The windows of the second moments and the held-out windows of the perplexity are disjoint.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mose.errors import RequestError
from mose.models.causal_lm import CausalLM
from mose.models.sampling import sample, start_token
from mose.models.tokens import start_of
from mose.storage import files, hdf5, hub, records

logger = logging.getLogger(__name__)

SAMPLE_BATCH = 128


def part(lm: CausalLM, options: Mapping[str, Any], name: str) -> NDArray[np.int32]:
    """Windows (n, T) int32 of token ids: one part of the corpus.

    options: the config's `corpus` block. name: "heldout" or "windows<shard>". The held-out windows
    are the first of a text; each shard takes every `shards`-th window of the rest. Sampled parts
    have different seeds.
    Raises RequestError if the source cannot be read or is too short, ConfigError for a window
    longer than the model's context.
    """
    length, shards = options["window"], options["shards"]
    lm.check_fits(length, "corpus.window")
    heldout = math.ceil(options["heldout"] / length)
    total = math.ceil(options["tokens"] / length)
    shard = None if name == "heldout" else int(name.removeprefix("windows"))
    count = heldout if shard is None else len(range(shard, total, shards))
    if options["source"] == "sampled":
        return _sampled(lm, count, length, (options["seed"], 0 if shard is None else shard + 1))
    rows = _windows_of(lm, options["source"], length)
    chosen = slice(heldout) if shard is None else slice(heldout + shard, heldout + total, shards)
    windows = list(itertools.islice(rows, chosen.start, chosen.stop, chosen.step))
    if len(windows) < count:
        raise RequestError(
            f"corpus {options['source']}: too short, {name} needs {count} windows of {length} "
            f"tokens and got {len(windows)}; lower corpus.tokens or corpus.heldout, or give more "
            "text"
        )
    return np.array(windows, dtype=np.int32)


def write_part(path: str | Path, lm: CausalLM, options: Mapping[str, Any], name: str) -> str:
    """Write one `part` with the model's fingerprint and the options' digest; returns the file's
    digest. Arguments and errors as in `part`."""
    windows = part(lm, options, name)
    logger.info("%s: %d windows of %d tokens", name, *windows.shape)
    attributes = {"model": lm.fingerprint, "options": files.digest_of(options), "part": name}
    return hdf5.write(path, "windows", {"ids": windows}, attributes)


def _windows_of(lm: CausalLM, source: Mapping[str, Any], length: int) -> Iterator[list[int]]:
    """Windows of all texts one after another, each begun as the tokenizer begins a text: a model
    with a start token has never seen text without, and computes other keys there."""
    texts = _read_file(Path(source["file"])) if "file" in source else _read_hub(source)
    start = start_of(lm.tokenizer)
    size = length - len(start)
    buffer: list[int] = []
    for text in texts:
        buffer.extend(lm.tokenizer(text, verbose=False, add_special_tokens=False)["input_ids"])
        while len(buffer) >= size:
            yield start + buffer[:size]
            del buffer[:size]


def _sampled(lm: CausalLM, count: int, length: int, seed: tuple[int, int]) -> NDArray[np.int32]:
    # SeedSequence, so that the seeds (0, 1) and (1, 0) give different texts.
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state) >> 1)
    parts = []
    starts = range(0, count, SAMPLE_BATCH)
    for number, start in enumerate(starts, 1):
        ids = torch.full((min(SAMPLE_BATCH, count - start), 1), start_token(lm))
        work = f"sampling text ({number} of {len(starts)})"
        parts.append(sample(lm, ids, length - 1, generator, work=work))
    return torch.cat(parts).numpy().astype(np.int32)


def _read_file(path: Path) -> Iterator[str]:
    """Texts of a file: the field `text` of records, or the non-empty lines of plain text."""
    key = "corpus.source.file"
    if not records.is_records(path):
        yield from (line for line in records.text_lines(path, key) if line.strip())
        return
    for number, record in enumerate(records.iterate(path, key), 1):
        if not isinstance(record, Mapping) or not isinstance(record.get("text"), str):
            raise RequestError(f"{path}, record {number}: no field 'text'")
        yield record["text"]


def _read_hub(source: Mapping[str, Any]) -> Iterator[str]:
    field = source.get("field", "text")
    for record in hub.records(source, "corpus.source.hub"):
        if field not in record:
            raise RequestError(f"corpus.source.hub: {source['hub']}: no field {field!r}")
        yield record[field]
