"""Shared code of the programs in scripts/: common options, logging, one-line errors."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mose.errors import MoseError

OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory")


def parser(description: str, model: bool = False) -> argparse.ArgumentParser:
    """An argument parser; with `model`, it has the options of programs that load a model."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if model:
        result.add_argument("--model", required=True, help="manifest.json of the model")
        result.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
        result.add_argument(
            "--dtype", default="float32", help="number format of the model's passes"
        )
        result.add_argument("--gpus", type=int, default=1, help="number of GPUs for the model")
        result.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    return result


def chain_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options that define a chain of checkpoints (`mose.editing.chain`)."""
    parser.add_argument("--variant", required=required, help="method and options, as JSON")
    parser.add_argument("--moments", required=required, help="moments.h5, second moments")
    parser.add_argument(
        "--requests", required=required, help="requests.jsonl, all of a seed in order"
    )
    parser.add_argument("--templates", required=required, help="context templates, JSON")
    parser.add_argument(
        "--seed", type=int, required=required, help="seed of requests and templates"
    )
    parser.add_argument("--batch", type=int, required=required, help="requests per update")


def layers(text: str) -> list[int]:
    """Parse layers such as "4_6-8": numbers and spans, joined by "_"."""
    from mose.experiment.paths import numbers_of

    return numbers_of(text)


def write_table(path: str | Path, table: Any, columns: Sequence[str] | None = None) -> None:
    """Write a data frame or a list of rows as CSV, atomically. columns: names for rows."""
    import pandas as pd

    from mose.storage import files

    with files.atomic(path) as temporary:
        pd.DataFrame(table, columns=columns).to_csv(temporary, index=False)


def use_threads(count: int) -> None:
    """Limit the threads of BLAS and torch. Call it before torch is first imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    import torch

    torch.set_num_threads(count)


def run(
    program: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    stage: str | None = None,
) -> None:
    """Parse the options and run; MoseError becomes one line and exit status 1.

    stage: a key of `mose.experiment.stages.STAGES`, for programs that load a model: a job that does
    not fit on the machine is refused before it starts.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.captureWarnings(True)
    # Libraries that log every HTTP request or font.
    for noisy in ("httpx", "huggingface_hub", "datasets", "fsspec", "fontTools"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        if stage is not None:
            from mose.experiment import capacity

            capacity.check(stage, arguments)
        if "threads" in arguments:
            use_threads(arguments.threads)
        program(arguments)
    except MoseError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, RuntimeError) as error:
        # Out of memory is a plain RuntimeError in torch, except on a GPU.
        text = str(error)
        if isinstance(error, RuntimeError) and not any(phrase in text for phrase in OUT_OF_MEMORY):
            raise
        sys.exit(
            "error: out of memory; run fewer jobs at once (--cores), or give this one more "
            f"(mem_mb of its rule){f': {text.splitlines()[0]}' if text else ''}"
        )


def _terminated(number: int, frame: object) -> None:
    """Handle SIGTERM as an exit, so that unfinished files are closed and removed."""
    sys.exit("error: terminated (a time limit, or a kill); run again: what is finished is kept")
