"""Peak memory of second moments at a large model's width, in copies of the whole matrix.

One layer of a model whose edited projection has 18,944 inputs (Qwen2.5-7B's); all other sizes are
small. Each step runs in its own process, whose memory before the step is subtracted.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mose.cli import programs
from mose.models.causal_lm import CausalLM
from mose.report import pages
from mose.statistics import second_moments
from mose.storage import files

PROVENANCE = {"model": "random", "corpus": "random"}
COLUMNS = ("step", "width", "one_copy_GB", "peak_GB", "copies", "file_GB", "seconds")


def accumulate(folder: Path, width: int, shard: int) -> Path:
    """Sum and store one shard, as scripts/second_moments.py."""
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=width, num_hidden_layers=1,
        num_attention_heads=4,
    )  # fmt: skip
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    lm = CausalLM(LlamaForCausalLM(config), tokenizer, "random")
    windows = np.random.default_rng(shard).integers(0, 64, size=(16, 64)).astype(np.int32)
    sums, count = second_moments.accumulate(lm, windows, [0], False, tokens_per_pass=512)
    out = folder / f"shard{shard}.h5"
    second_moments.save(out, sums, count, PROVENANCE, str(shard), (shard, 2))
    return out


def add(folder: Path, width: int) -> Path:
    """Add two shards, as scripts/add_moments.py."""
    out = folder / "moments.h5"
    second_moments.add_shards([folder / "shard0.h5", folder / "shard1.h5"], out)
    return out


def read(folder: Path, width: int) -> Path:
    """Read C, as an edit job."""
    out = folder / "moments.h5"
    assert second_moments.load(out, [0], "random")[0].matrix.shape == (width, width)
    return out


def status(key: str) -> int:
    """A field of this process's status, in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{key}:")[1].split()[0]) * 1024


def measured(step: Callable[..., Path], *args: object) -> tuple[int, int, float]:
    """Peak memory of a step beyond the process's own, size of its file (bytes), seconds."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak
    before, started = status("VmRSS"), time.perf_counter()
    out = step(*args)
    seconds = time.perf_counter() - started
    return status("VmHWM") - before, out.stat().st_size, seconds


def rows(width: int) -> list[dict[str, object]]:
    """One row (COLUMNS) per step."""
    copy = 8 * width**2
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        measurements = []
        for label, step, more in (
            ("accumulate and store", accumulate, (0,)),
            ("the same, second shard", accumulate, (1,)),
            ("add two shards", add, ()),
            ("read", read, ()),
        ):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peak, size, seconds = pool.apply(measured, (step, folder, width, *more))
            values = (label, width, copy / 1e9, peak / 1e9, peak / copy, size / 1e9, seconds)
            measurements.append(dict(zip(COLUMNS, values, strict=True)))
    return measurements


def program(args: argparse.Namespace) -> None:
    table = pd.DataFrame(rows(args.width), columns=list(COLUMNS))
    with files.atomic(args.out) as temporary:
        table.to_csv(temporary, index=False)
    cells = [
        [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in table.to_numpy()
    ]
    print(pages.markdown(list(COLUMNS), cells))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--width", type=int, default=18_944)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of this program")
    parser.add_argument("--out", required=True, help="CSV to write")
    programs.run(program, parser)
