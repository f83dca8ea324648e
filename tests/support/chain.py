"""A small experiment's programs as the workflow calls them, to be disturbed one by one.

Snakemake is left out where it adds nothing: a stage is one program, killed and started again as
the workflow would, and its command line is the rule's own.
"""

import json
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pandas as pd
import psutil
import tiny

ROOT = Path(__file__).parents[2]
VARIANT = {
    "method": "mose", "memory": "accumulate", "layers": [1], "lambda": 0.1, "steps": 4,
    "learning_rate": 0.2,
}  # fmt: skip
RUN = "results/e/tiny/capitals/m/seed0"
USER = -1  # a limit that is not one: whose rights the program has


def facts() -> list[dict]:
    """As a data set file holds them."""
    return [
        {
            "subject": country, "prompt": "The capital of {} is", "target_true": capital,
            "target_new": tiny.FACTS[(i + 5) % 12][1],
        }
        for i, (country, capital) in enumerate(tiny.FACTS)
    ]  # fmt: skip


def stages(variant: dict | None = None) -> dict[str, tuple[list[str], list[str]]]:
    """By name, in their order: the command of each stage, and the outputs it is for."""
    model = ["--model", "results/models/tiny/manifest.json", "--device", "cpu"]
    corpus = ["--options", json.dumps(
        {"source": "sampled", "tokens": 600, "heldout": 64, "window": 16, "shards": 1, "seed": 0}
    )]  # fmt: skip
    own = [
        "--variant", json.dumps({**VARIANT, **(variant or {})}), "--moments", "results/moments.h5",
        "--requests", "results/requests.jsonl", "--templates", "results/templates.json",
        "--seed", "0", "--batch", "1",
    ]  # fmt: skip

    def edit(last: int, *more: str) -> tuple[list[str], list[str]]:
        outputs = [f"{RUN}/edits{last}.h5", f"{RUN}/immediate{last}.csv"]
        return [
            "edit.py", *model, *own, *more, "--last", str(last), "--out", outputs[0],
            "--immediate", outputs[1],
        ], outputs  # fmt: skip

    def out(name: str, *command: str) -> tuple[list[str], list[str]]:
        return [*command, "--out", name], [name]

    checkpoint = ["--checkpoint", f"{RUN}/edits4.h5"]
    return {
        "model": out(
            model[1], "prepare_model.py", "--source", json.dumps({"local": "tiny-llama"})
        ),
        "windows": out(
            "results/windows0.h5", "make_corpus.py", *model, *corpus, "--part", "windows0"
        ),
        "heldout": out(
            "results/heldout.h5", "make_corpus.py", *model, *corpus, "--part", "heldout"
        ),
        "shard": out(
            "results/shard0.h5", "second_moments.py", *model, "--windows", "results/windows0.h5",
            "--layers", "1", "--shard", "0", "--shards", "1",
        ),
        "moments": out("results/moments.h5", "add_moments.py", "results/shard0.h5"),
        "facts": (
            [
                "read_facts.py", *model, "--source", "facts.json", "--conflicts", "all",
                "--out", "results/facts.jsonl", "--report", "results/facts_report.json",
            ],
            ["results/facts.jsonl", "results/facts_report.json"],
        ),
        "requests": out(
            "results/requests.jsonl", "make_requests.py", "--facts", "results/facts.jsonl",
            "--seed", "0", "--neighbours", "1", "--held-out", "0.2", "--part", "all",
        ),
        "templates": out(
            "results/templates.json", "make_templates.py", *model, "--seed", "0", "--length", "4",
            "--per-starter", "1",
        ),
        "edit2": edit(2),
        "edit4": edit(4, "--previous", f"{RUN}/edits2.h5"),
        "stability": out(
            f"{RUN}/stability4.csv", "stability.py", *model[:2], *own, *checkpoint
        ),
        "measure": (
            [
                "measure.py", *model, *own, *checkpoint, "--last", "4", "--scores",
                f"{RUN}/scores4.csv", "--heldout", "results/heldout.h5", "--perplexity",
                f"{RUN}/perplexity4.csv",
            ],
            [f"{RUN}/scores4.csv", f"{RUN}/perplexity4.csv"],
        ),
    }  # fmt: skip


# Children of a process that has the libraries loaded: real processes, started in no time.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "mose.editing.sequence",
        "mose.evaluation.prompt_scores",
        "mose.models.sources",
        "mose.statistics.corpus",
        "mose.facts.readers",
        "mose.report.figures.overview",
        "mose.report.tables",
        "mose.experiment.plan",
        "snakemake.cli",
        "transformers.models.llama.modeling_llama",
        "encodings.utf_8_sig",  # a user without rights on Python's own files reads records, too
    ]
)


@dataclass
class Running:
    """A stage's program that has been started."""

    process: ForkServerProcess
    errors: Connection

    def end(self, timeout: float = 300) -> tuple[int, str]:
        """Wait for it; exit status (negative: the signal) and standard error."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "the program does not end"
        with os.fdopen(os.dup(self.errors.fileno()), errors="replace") as file:
            self.errors.close()
            return self.process.exitcode, file.read()


def start(folder: Path, command: list[str], *limits: tuple[int, int]) -> Running:
    """Start a stage's program in a folder, under resource limits or as another user."""
    errors, writer = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_program, args=(str(folder), command, limits, writer))
    process.start()
    writer.close()
    return Running(process, errors)


def _program(
    folder: str, command: list[str], limits: Sequence[tuple[int, int]], errors: Connection
) -> None:
    os.dup2(errors.fileno(), 2)
    errors.close()
    os.chdir(folder)
    for kind, size in limits:
        if kind == USER:
            os.setgid(size)
            os.setuid(size)
        elif kind == resource.RLIMIT_AS:  # beyond what the libraries take
            size += psutil.Process().memory_info().vms
            resource.setrlimit(kind, (size, size))
        else:
            resource.setrlimit(kind, (size, size))
    sys.argv = [command[0], *command[1:]]
    runpy.run_path(str(ROOT / "scripts" / command[0]), run_name="__main__")


def run(folder: Path, command: list[str], *limits: tuple[int, int]) -> tuple[int, str]:
    """Exit status and standard error of a stage that is left to its end."""
    return start(folder, command, *limits).end()


def kill(
    folder: Path, command: list[str], after: float, number: int = signal.SIGKILL
) -> tuple[int, str]:
    """Send a stage a signal after some seconds; exit status and standard error.

    The seconds of another signal than SIGKILL begin once the program handles that signal, for which
    it has a minute.
    """
    running = start(folder, command)
    given_up = time.monotonic() + 60
    while number != signal.SIGKILL and time.monotonic() < given_up:
        if _handles(running.process.pid, number):
            break
        time.sleep(0.01)
    time.sleep(after)
    if running.process.is_alive():
        os.kill(running.process.pid, number)
    return running.end()


def _handles(process: int | None, number: int) -> bool:
    """Whether a process has a handler of its own for a signal, as the kernel knows it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def contents(folder: Path, outputs: list[str]) -> dict[str, object]:
    """What outputs hold, without the seconds that a record has and the digests over them."""
    from mose.storage import files, hdf5

    found: dict[str, object] = {}
    for name in outputs:
        path = folder / name
        if path.name.startswith("edits"):
            kept = hdf5.read(path, "checkpoint")
            record = pd.DataFrame(hdf5.edit_records_of(kept)).drop(columns="seconds")
            arrays = {k: a.tobytes() for k, a in kept.arrays.items() if k != "record"}
            found[name] = (record.to_csv(), arrays)
        elif path.name == "manifest.json":
            found[name] = {k: v for k, v in files.read_json(path).items() if k != "directory"}
        else:
            found[name] = path.read_bytes()
    return found
