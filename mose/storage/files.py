"""Atomic files, text and JSON, and digests.

A file appears under its final name whole or not at all: it is written beside it under a name
that belongs to this process alone, flushed to disk, and renamed.
"""

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from mose.errors import StoreError

# What the smallest job writes with its log: a disk with less room is full.
PROBE_BYTES = 1 << 16
# No file takes so long to be written.
LEFTOVER_SECONDS = 24 * 3600


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on error it goes.

    The temporary name holds machine and process, so that two writers never share one: an attempt
    that a scheduler gave up on may still be running. What a writer of the same file left when it
    was killed is removed first.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        _remove_leftovers(path, temporary)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):  # the folder itself may refuse
            temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> StoreError:
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return StoreError(
        f"{path}: cannot be written ({reason}); see to the disk's free space and to the "
        "folder's permissions, then run again: what is finished is kept"
    )


def check_writable(*folders: str | Path) -> None:
    """Raise StoreError, naming the folder, if files cannot be made in one of those that exist."""
    for folder in map(Path, folders):
        try:
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0" * PROBE_BYTES)
        except OSError as error:
            raise _unwritable(folder, error) from None


@cache
def _machine() -> str:
    """A name that two processes share only if a process id means the same to both.

    Host names are not enough: nodes started from one image share theirs, a container has process
    ids of its own, and after a restart the ids begin anew.
    """
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(re.sub(r"\D", "", os.readlink("/proc/self/ns/pid")))
    except OSError:  # not Linux
        parts.append(str(int(psutil.boot_time())))
    return re.sub(r"[^A-Za-z0-9-]", "-", "-".join(parts))


def _remove_leftovers(path: Path, own: Path) -> None:
    """Remove temporary files of `path` whose writers are dead for certain.

    Certain is a process of this machine that is gone. Of another machine's nothing can be asked:
    its file goes once it was not written to for LEFTOVER_SECONDS, by the file system's own clock.
    """
    now = own.stat().st_mtime
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([A-Za-z0-9-]+)\.(\d+)\.tmp")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if not match or entry == own:
            continue
        with suppress(OSError):  # another writer may have been quicker
            gone = match[1] == _machine() and not psutil.pid_exists(int(match[2]))
            if gone or now - entry.stat().st_mtime > LEFTOVER_SECONDS:
                entry.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one is a StoreError that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the stage that makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON: for configs and lists of requests."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
