"""Token windows for second moments and for perplexity, from one of three sources.

The windows of the second moments and the held-out windows of the perplexity are disjoint: the
first never see the second.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mose import store
from mose.errors import RequestError
from mose.model import CausalLM
from mose.progress import track
from mose.sampling import sample, start_token

logger = logging.getLogger(__name__)

SAMPLE_BATCH = 128


def windows(
    lm: CausalLM, source: Mapping[str, Any], count: int, length: int, seed: int
) -> NDArray[np.int32]:
    """(count, length) token ids.

    source: the config's `corpus.source`: `sampled`, `{file: PATH}` or `{hub: ID, ...}`.
    Raises RequestError when the text is too short, with both numbers.
    """
    if source == "sampled":
        return _sampled(lm, count, length, seed)
    texts = _read_file(Path(source["file"])) if "file" in source else _read_hub(source)
    rows: list[list[int]] = []
    buffer: list[int] = []
    for text in texts:
        buffer.extend(lm.tokenizer(text, verbose=False)["input_ids"])
        while len(buffer) >= length and len(rows) < count:
            rows.append(buffer[:length])
            del buffer[:length]
        if len(rows) == count:
            return np.array(rows, dtype=np.int32)
    raise RequestError(
        f"corpus {source}: gives {len(rows)} windows of {length} tokens, {count} were asked for; "
        "lower corpus.tokens or corpus.heldout, or give more text"
    )


def _sampled(lm: CausalLM, count: int, length: int, seed: int) -> NDArray[np.int32]:
    generator = torch.Generator().manual_seed(seed)
    parts = []
    starts = list(range(0, count, SAMPLE_BATCH))
    for start in track(starts, "sampling text"):
        ids = torch.full((min(SAMPLE_BATCH, count - start), 1), start_token(lm))
        parts.append(sample(lm, ids, length - 1, generator))
    return torch.cat(parts).numpy().astype(np.int32)


def _read_file(path: Path) -> Iterator[str]:
    """Texts of a file: JSON lines with a `text` field, or paragraphs of plain text."""
    if not path.exists():
        raise RequestError(f"corpus.source.file: {path} does not exist")
    if path.suffix == ".jsonl":
        for number, record in enumerate(store.read_jsonl(path), 1):
            if "text" not in record:
                raise RequestError(f"{path}, record {number}: no field 'text'")
            yield record["text"]
        return
    with path.open(encoding="utf-8") as file:
        yield from (line for line in file if line.strip())


def _read_hub(source: Mapping[str, Any]) -> Iterator[str]:
    import datasets

    try:
        data = datasets.load_dataset(
            source["hub"],
            source.get("subset"),
            split=source.get("split", "train"),
            revision=source.get("revision"),
            streaming=True,
        )
        for record in data:
            yield record[source.get("field", "text")]
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"corpus.source.hub: {source['hub']}: {reason}") from None
