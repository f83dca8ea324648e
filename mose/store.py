"""Atomic, checksummed files.

A file appears under its final name whole or not at all: it is written beside it under a name
that belongs to this process alone, flushed to disk, and renamed. HDF5 files carry a SHA-256 per
array (checked when that array is read), a fletcher32 per chunk, and a digest over all of it,
which a child file keeps as the name of its parent.

Symmetric matrices are stored as a packed upper triangle, row by row: half the bytes, and exactly
symmetric when read.
"""

import hashlib
import json
import math
import os
import re
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
from numpy.typing import NDArray

from mose.errors import StoreError
from mose.triangle import Packed, packed_size, row_spans, side_of, unpack_rows

FORMAT = 1
CHUNK_BYTES = 1 << 20
# What the smallest job writes with its log: a disk with less room is full.
PROBE_BYTES = 1 << 16
# No file takes so long to be written.
LEFTOVER_SECONDS = 24 * 3600

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Contents:
    """What was read of a file: arrays by path, attributes, the names of all arrays that it holds,
    and the digest over all of it."""

    arrays: dict[str, NDArray]
    attributes: dict[str, Any]
    names: tuple[str, ...]
    digest: str


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


def write_jsonl(path: str | Path, records: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read a JSON lines file; errors name the file and the line."""
    records = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the stage that makes it") from None
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: not UTF-8 ({error}); delete it and run again") from None
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise StoreError(f"{path}, line {number}: not valid JSON ({error})") from None
    return records


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON: for configs and lists of requests."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _pieces(array: NDArray | Packed) -> Iterator[NDArray]:
    """What an array is hashed and written by, one after another along its first dimension."""
    if isinstance(array, Packed):
        yield from array.pieces()
    elif array.size:
        yield np.ascontiguousarray(array)


def _hash(dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """A SHA-256 that has seen an array's type and shape, and is to see its bytes."""
    return hashlib.sha256(f"{dtype.str}{shape}".encode())


def _array_digest(array: NDArray | Packed) -> str:
    total = _hash(array.dtype, array.shape)
    for piece in _pieces(array):
        total.update(piece.reshape(-1).view(np.uint8))
    return total.hexdigest()


def _total_digest(kind: str, attributes: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    return digest_of([kind, FORMAT, plain, dict(digests)])


def write(
    path: str | Path, kind: str, arrays: Mapping[str, NDArray | Packed], attributes: Attributes
) -> str:
    """Write arrays and attributes as one HDF5 file, atomically; return its digest.

    kind: what the file is ("moments", "checkpoint", ...): checked when it is read.
    arrays: by path inside the file, e.g. "layers/6/sum".
    """
    digests = {name: _array_digest(array) for name, array in arrays.items()}
    total = _total_digest(kind, attributes, digests)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            dataset = _new_dataset(file, name, array.dtype, array.shape)
            dataset.attrs["sha256"] = digests[name]
            start = 0
            for piece in _pieces(array):
                dataset[start : start + len(piece)] = piece
                start += len(piece)
        file.attrs.update({"kind": kind, "format": FORMAT, "digest": total})
        file.create_group("attributes").attrs.update(attributes)
    return total


def _new_dataset(
    file: h5py.File, name: str, dtype: np.dtype, shape: tuple[int, ...]
) -> h5py.Dataset:
    if 0 in shape:
        return file.create_dataset(name, shape, dtype)
    rows = max(1, CHUNK_BYTES // (dtype.itemsize * math.prod(shape[1:])))
    chunks = (min(rows, shape[0]), *shape[1:])
    return file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True)


@contextmanager
def _opened(path: str | Path, kind: str) -> Iterator[tuple[h5py.File, dict[str, Any], str]]:
    """A file that `write` made, with kind, version and digest checked; its attributes and digest.

    Raises StoreError, naming the file and the cure, for what goes wrong while it is open.
    """
    cure = "delete it and run again"
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            if "digest" not in file.attrs or "attributes" not in file:
                raise StoreError(f"{path}: not a file of this project; {cure}")
            found = str(file.attrs["kind"]), int(file.attrs["format"])
            if found != (kind, FORMAT):
                raise StoreError(
                    f"{path}: found {found[0]} of format {found[1]}, "
                    f"expected {kind} of format {FORMAT}; {cure}"
                )
            attributes = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in file["attributes"].attrs.items()
            }
            total = str(file.attrs["digest"])
            if _total_digest(kind, attributes, _stored_digests(file)) != total:
                raise StoreError(f"{path}: damaged (its digest does not match); {cure}")
            yield file, attributes, total
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; run the stage that makes it") from None
    except (OSError, KeyError, RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); {cure}") from None


def _stored_digests(file: h5py.File) -> dict[str, str]:
    """SHA-256 of every array in a file, as it says itself."""
    digests: dict[str, str] = {}

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            digests[name] = str(item.attrs["sha256"])

    file.visititems(note)
    return digests


def _dataset(path: str | Path, file: h5py.File, name: str) -> h5py.Dataset:
    if not isinstance(file.get(name), h5py.Dataset):
        raise StoreError(f"{path}: holds no {name}; it has {', '.join(_stored_digests(file))}")
    return file[name]


def _check(path: str | Path, dataset: h5py.Dataset, name: str, digest: str) -> None:
    if digest != str(dataset.attrs["sha256"]):
        raise StoreError(f"{path}: {name} is damaged; delete it and run again")


def read(path: str | Path, kind: str, names: Collection[str] | None = None) -> Contents:
    """Read a file that `write` made, checking kind, version, attributes and every array read.

    names: the arrays to read; all of them when None.
    Raises StoreError, naming the file and the cure, when anything does not hold.
    """
    arrays = {}
    with _opened(path, kind) as (file, attributes, total):
        held = tuple(_stored_digests(file))
        for name in held if names is None else names:
            dataset = _dataset(path, file, name)
            arrays[name] = dataset[()]
            _check(path, dataset, name, _array_digest(arrays[name]))
    return Contents(arrays, attributes, held, total)


def read_symmetric(path: str | Path, kind: str, name: str) -> NDArray:
    """A matrix (d, d) that was written as `Packed`, exactly symmetric, checked as by `read`.

    The triangle is read a few rows at a time.
    """
    with _opened(path, kind) as (file, _, _):
        dataset = _dataset(path, file, name)
        d = side_of(dataset.size)
        matrix = np.empty((d, d), dataset.dtype)
        seen = _hash(dataset.dtype, dataset.shape)
        start = 0
        for begin, end in row_spans(d, dataset.dtype):
            piece = dataset[start : start + packed_size(d, begin, end)]
            seen.update(piece.view(np.uint8))
            unpack_rows(matrix, begin, end, piece)
            start += len(piece)
        _check(path, dataset, name, seen.hexdigest())
    return matrix


def record_of(contents: Contents) -> list[dict[str, Any]]:
    """The per-request record that a checkpoint carries as JSON."""
    return json.loads(contents.arrays["record"].tobytes())


def read_record(path: str | Path) -> list[dict[str, Any]]:
    """The per-request record of a checkpoint's file, without its matrices."""
    return record_of(read(path, "checkpoint", ["record"]))
