"""Checks that a job fits on its machine, before heavy imports."""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from mose.errors import ResourceError
from mose.experiment.resources import ESTIMATE_ERROR, ITEM_BYTES, Machine, Needs, Shape, Work
from mose.experiment.stages import needs
from mose.methods.register import parse_variant
from mose.storage import files

CGROUP = Path("/sys/fs/cgroup")


def check(stage: str, args: argparse.Namespace) -> None:
    """Refuse a job that cannot fit on this machine.

    stage: a key of `mose.experiment.stages.STAGES`. args: the program's parsed options.
    Raises ResourceError if free memory is below the estimate by more than ESTIMATE_ERROR, or the
    disk has no room.
    """
    shape = Shape.of_manifest(files.read_json(args.model))
    options = vars(args)
    gpu = _is_gpu(options.get("device", "cpu"))
    machine = Machine(
        gpu,
        options.get("dtype", "float32"),
        options.get("threads", 1),
        options.get("solve_on", "model"),
    )
    variant = options.get("variant")
    work = Work(
        layers=options.get("layers") or (),
        variant=None if variant is None else parse_variant(json.loads(variant), "--variant"),
    )
    needed = needs(stage, shape, machine, work)
    free = available_memory()
    if needed.host * (1 - ESTIMATE_ERROR) > free:
        weights = shape.parameters * ITEM_BYTES[machine.dtype]
        raise ResourceError(
            f"{stage} needs about {needed.host / 1e9:.1f} GB of memory (the model's weights are "
            f"{weights / 1e9:.1f} GB as {machine.dtype}) and {free / 1e9:.1f} GB are free here; "
            "take a larger machine, run fewer jobs at once, edit fewer layers, or take "
            "dtype: bfloat16"
        )
    check_disk(stage, needed, Path(options.get("out") or options.get("scores") or "."))


def check_disk(stage: str, needed: Needs, out: Path) -> None:
    """Refuse a job whose output does not fit on the disk of `out`."""
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if needed.disk > free:
        raise ResourceError(
            f"{stage} leaves about {needed.disk / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB "
            "are free there; make room, and run again: what is finished is kept"
        )


def available_memory() -> float:
    """Bytes that this process may still take: the least of free memory and its own limits."""
    return min([psutil.virtual_memory().available, *_limits()])


def _limits() -> Iterator[float]:
    """Bytes left in this process's control group; bytes that its Slurm job asked for."""
    try:
        # cgroup v2 writes one line, "0::/path".
        relative = Path("/proc/self/cgroup").read_text().splitlines()[0].split("::")[1].lstrip("/")
        folder = CGROUP / relative
        used = int((folder / "memory.current").read_text())
        # memory.current counts the page cache, which the kernel frees when memory is short.
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield int((folder / "memory.max").read_text()) - used + int(stat["file"])
    except (OSError, ValueError, IndexError, KeyError):
        pass  # no cgroup v2, or "max": no limit
    slurm_mb = os.environ.get("SLURM_MEM_PER_NODE", "")
    if slurm_mb.isdigit():
        yield int(slurm_mb) * 1e6


def _is_gpu(device: str) -> bool:
    """Whether the model goes to a GPU; `auto` takes one if the driver shows one."""
    return device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists())
