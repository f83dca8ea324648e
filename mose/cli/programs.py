"""What the programs in scripts/ share: common options, logging, and one-line errors."""

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
    """A parser with the options that every program has; with `model`, those that load one."""
    new = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if model:
        new.add_argument("--model", required=True, help="manifest.json of the model")
        new.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
        new.add_argument("--dtype", default="float32", help="what the model runs in")
        new.add_argument("--gpus", type=int, default=1, help="GPUs the model is divided among")
        new.add_argument("--threads", type=int, default=1, help="CPU threads of this program")
    return new


def chain_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Options that name what a chain of checkpoints is made from (`mose.editing.chain`)."""
    parser.add_argument("--variant", required=required, help="method and options, as JSON")
    parser.add_argument("--moments", required=required, help="moments.h5")
    parser.add_argument("--requests", required=required, help="requests.jsonl, the whole order")
    parser.add_argument("--templates", required=required, help="context templates, JSON")
    parser.add_argument(
        "--seed", type=int, required=required, help="seed of requests and templates"
    )
    parser.add_argument("--batch", type=int, required=required, help="requests written at once")


def layers(text: str) -> list[int]:
    """Layers as "4_6-8": single ones and spans."""
    numbers: list[int] = []
    for part in text.split("_"):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def write_table(path: str | Path, table: Any, columns: Sequence[str] | None = None) -> None:
    """Write a table as CSV, atomically. table: a data frame, or rows; columns: of rows."""
    import pandas as pd

    from mose.storage import files

    with files.atomic(path) as temporary:
        pd.DataFrame(table, columns=columns).to_csv(temporary, index=False)


def use_threads(count: int) -> None:
    """Bound the threads of BLAS and torch; before torch is first imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    import torch

    torch.set_num_threads(count)


def run(
    program: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    stage: str | None = None,
) -> None:
    """Parse, run, and turn this package's errors into one line and exit status 1.

    stage: of programs that load a model, its name in `mose.experiment.stages`: a job that cannot
    fit is refused first.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    logging.captureWarnings(True)
    # Records of every HTTP request and the like are no news to whoever reads the log.
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
        # torch says so in a RuntimeError, of a class of its own on a GPU only.
        text = str(error)
        if isinstance(error, RuntimeError) and not any(said in text for said in OUT_OF_MEMORY):
            raise
        sys.exit(
            "error: out of memory; run fewer jobs at once (--cores), or give this one more "
            f"(mem_mb of its rule){f': {text.splitlines()[0]}' if text else ''}"
        )


def _terminated(number: int, frame: object) -> None:
    """SIGTERM as an exit that closes and removes what is half written."""
    sys.exit("error: terminated (a time limit, or a kill); run again: what is finished is kept")
