"""Folders that are made once for a whole test run, whichever of pytest-xdist's workers asks."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """The folder of a name that `fill` has filled, in this process or in another worker.

    What is in it belongs to all tests: they read it, or copy it.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' own folders are in that of the run
    path, filled = base / f"shared-{name}", base / f"shared-{name}.filled"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not filled.exists():
            shutil.rmtree(path, ignore_errors=True)  # of a worker that failed
            path.mkdir()
            fill(path)
            filled.touch()
    return path
