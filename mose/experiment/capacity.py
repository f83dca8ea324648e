"""Whether a job fits where it is about to run: asked before anything heavy is imported."""

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
    """Refuse a program's job that cannot fit, with the numbers.

    stage: a key of `mose.experiment.stages.STAGES`. args: the program's parsed options.
    Raises ResourceError if free memory is below the estimate by more than ESTIMATE_ERROR, or the
    disk has no room.
    """
    shape = Shape.of_manifest(files.read_json(args.model))
    given = vars(args)
    gpu = _is_gpu(given.get("device", "cpu"))
    machine = Machine(gpu, given.get("dtype", "float32"), given.get("threads", 1))
    variant = given.get("variant")
    work = Work(
        layers=given.get("layers") or (),
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
    check_disk(stage, needed, Path(given.get("out") or given.get("scores") or "."))


def check_disk(stage: str, needed: Needs, out: Path) -> None:
    """Refuse a job whose files have no room on the disk of `out`."""
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if needed.disk > free:
        raise ResourceError(
            f"{stage} leaves about {needed.disk / 1e9:.1f} GB in {folder} and {free / 1e9:.1f} GB "
            "are free there; make room, and run again: what is finished is kept"
        )


def available_memory() -> float:
    """Bytes that this process may still take: of the machine, and of its own limits."""
    return min([psutil.virtual_memory().available, *_limits()])


def _limits() -> Iterator[float]:
    """What is left of a control group's memory, and what a Slurm job asked for."""
    try:
        # One line "0::/path" for the second version of control groups.
        own = Path("/proc/self/cgroup").read_text().splitlines()[0].split("::")[1].lstrip("/")
        folder = CGROUP / own
        used = int((folder / "memory.current").read_text())
        # Files that were read count as used, and give way.
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield int((folder / "memory.max").read_text()) - used + int(stat["file"])
    except (OSError, ValueError, IndexError, KeyError):
        pass  # no such groups, or "max": no limit
    asked = os.environ.get("SLURM_MEM_PER_NODE", "")
    if asked.isdigit():
        yield int(asked) * 1e6


def _is_gpu(device: str) -> bool:
    """Whether the model goes to a GPU; `auto` takes one where the driver shows one."""
    return device.startswith("cuda") or (device == "auto" and Path("/dev/nvidia0").exists())
