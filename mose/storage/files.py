"""Atomic writing of files, text and JSON, and digests.

A file is written under a temporary name that is unique to the process, flushed to disk, and
renamed. So a file under its final name is always complete.
"""

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from mose.errors import StoreError

# Size of the smallest job's output with its log; a disk with less free space counts as full.
PROBE_BYTES = 1 << 16
# Longer than any file takes to be written.
LEFTOVER_SECONDS = 24 * 3600


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it on error.

    The temporary name holds machine and process id, because a job that the scheduler gave up on
    may still be writing. Temporary files of killed writers of `path` are removed first.
    Raises StoreError for errors of the file system.
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
        with suppress(OSError):  # the folder may not be writable
            temporary.unlink(missing_ok=True)


def share(folder: Path) -> None:
    """Give the files in a folder the permissions of any new file: safetensors writes files that
    their owner alone can read."""
    probe = folder / ".permissions"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)


def _unwritable(path: Path, error: OSError) -> StoreError:
    reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return StoreError(
        f"{path}: cannot be written ({reason}); check the disk's free space and the folder's "
        "permissions, then run again: finished files are kept"
    )


def check_writable(*folders: str | Path) -> None:
    """Raise StoreError for an existing folder in which no file can be written."""
    for folder in map(Path, folders):
        try:
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"\0" * PROBE_BYTES)
        except OSError as error:
            raise _unwritable(folder, error) from None


@cache
def _machine() -> str:
    """A name of the process id namespace: host name, boot id and pid namespace.

    The host name is not enough: nodes started from one image share it, containers have their own
    process ids, and a restart reuses ids.
    """
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
        parts.append(re.sub(r"\D", "", os.readlink("/proc/self/ns/pid")))
    except OSError:  # not Linux
        parts.append(str(int(psutil.boot_time())))
    return re.sub(r"[^A-Za-z0-9-]", "-", "-".join(parts))


def _remove_leftovers(path: Path, own: Path) -> None:
    """Remove temporary files of `path` whose writers no longer run.

    On this machine the process id is checked. Files of other machines are removed when they have
    not changed for LEFTOVER_SECONDS, by the file system's clock.
    """
    now = own.stat().st_mtime
    pattern = re.compile(rf"\.{re.escape(path.name)}\.([A-Za-z0-9-]+)\.(\d+)\.tmp")
    for entry in path.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if not match or entry == own:
            continue
        with suppress(OSError):  # another writer may have removed it
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
    """Read a JSON file. Raises StoreError if it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the stage that makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not valid JSON ({error}); delete it and run again") from None


def read_option(text: str) -> Any:
    """The value of a program's option: JSON of a mapping or list, or the name of a file with it.

    Raises StoreError as `read_json`.
    """
    return json.loads(text) if text.startswith(("{", "[")) else read_json(text)


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity_of(path: str | Path) -> dict[str, Any]:
    """What tells a file from one that replaces it: path, bytes, time of change, SHA-256."""
    path = Path(path).resolve()
    stat = path.stat()
    return {
        "path": str(path),
        "bytes": stat.st_size,
        "changed_ns": stat.st_mtime_ns,
        "sha256": sha256_of_file(path),
    }


def is_replaced(identity: Mapping[str, Any]) -> bool:
    """Whether the path of an `identity_of` has another content now; False if it is not there.

    The file is read only if its size is the same and its time of change is not.
    """
    path = Path(identity["path"])
    if not path.exists():
        return False
    stat = path.stat()
    if stat.st_size != identity["bytes"]:
        return True
    return stat.st_mtime_ns != identity["changed_ns"] and sha256_of_file(path) != identity["sha256"]


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
