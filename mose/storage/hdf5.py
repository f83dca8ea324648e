"""Checksummed HDF5 files, written atomically.

Each file holds a SHA-256 per array (checked when the array is read), a fletcher32 per chunk, and a
digest of all contents, by which other files refer to it (a checkpoint to its parent).

Symmetric matrices are stored as the packed upper triangle, row by row: half the bytes, and exactly
symmetric when read.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mose.errors import StoreError
from mose.storage.files import atomic, digest_of
from mose.storage.symmetric import PackedSymmetric, packed_size, row_spans, side_of, unpack_rows

FORMAT = 1
CHUNK_BYTES = 1 << 20
# Attributes that identify a file of this project.
MARKS = {"kind", "format", "digest"}

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class Contents:
    """Contents of a file: the arrays that were read (by path), attributes, the names of all
    arrays, and the file's digest."""

    arrays: dict[str, NDArray]
    attributes: dict[str, Any]
    names: tuple[str, ...]
    digest: str


def _pieces(array: NDArray | PackedSymmetric) -> Iterator[NDArray]:
    """Parts of an array along its first dimension, for hashing and writing."""
    if isinstance(array, PackedSymmetric):
        yield from array.pieces()
    elif array.size:
        yield np.ascontiguousarray(array)


def _hash(dtype: np.dtype, shape: tuple[int, ...]) -> Any:
    """A SHA-256 object, updated with an array's dtype and shape; the bytes follow."""
    return hashlib.sha256(f"{dtype.str}{shape}".encode())


def _array_digest(array: NDArray | PackedSymmetric) -> str:
    sha = _hash(array.dtype, array.shape)
    for piece in _pieces(array):
        sha.update(piece.reshape(-1).view(np.uint8))
    return sha.hexdigest()


def _total_digest(kind: str, attributes: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    return digest_of([kind, FORMAT, plain, dict(digests)])


def write(
    path: str | Path,
    kind: str,
    arrays: Mapping[str, NDArray | PackedSymmetric],
    attributes: Attributes,
) -> str:
    """Write arrays and attributes as one HDF5 file, atomically; return its digest.

    kind: type of the file ("moments", "checkpoint", ...), checked by readers.
    arrays: by path inside the file, e.g. "layers/6/sum".
    Raises StoreError for errors of the file system.
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
    """Open a file that `write` wrote; yield it with its attributes and its digest.

    Checks kind, format and digest. Raises StoreError for every error while the file is open. Only
    for files with this project's MARKS does the message advise to delete the file.
    """
    advice = "delete it and run again"
    is_ours = False
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            if not set(file.attrs) >= MARKS or "attributes" not in file:
                raise StoreError(
                    f"{path}: an HDF5 file of another program, expected {kind} of this project; "
                    "check the path"
                )
            is_ours = True
            actual_kind, version = str(file.attrs["kind"]), int(file.attrs["format"])
            if actual_kind != kind:
                raise StoreError(
                    f"{path}: found {actual_kind} of this project, expected {kind}; check the path"
                )
            if version != FORMAT:
                raise StoreError(
                    f"{path}: found {kind} of format {version}, expected format {FORMAT}: written "
                    f"by another version of this project; {advice}"
                )
            attributes = {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in file["attributes"].attrs.items()
            }
            digest = str(file.attrs["digest"])
            if _total_digest(kind, attributes, _stored_digests(file)) != digest:
                raise StoreError(f"{path}: damaged (its digest does not match); {advice}")
            yield file, attributes, digest
    except FileNotFoundError:
        raise StoreError(
            f"{path}: no such file; check the path, or run the stage that makes it"
        ) from None
    except (OSError, KeyError, RuntimeError, ValueError, UnicodeDecodeError) as error:
        if is_ours:
            raise StoreError(f"{path}: cannot be read ({error}); {advice}") from None
        raise _unreadable(path, kind, error) from None


def _unreadable(path: str | Path, kind: str, error: Exception) -> StoreError:
    """The error for a path that does not open and may not belong to this project."""
    expected = f"expected an HDF5 file ({kind} of this project)"
    if Path(path).is_dir():
        return StoreError(f"{path}: a folder, {expected}; check the path")
    if isinstance(error, PermissionError):
        return StoreError(f"{path}: no permission to read it, {expected}; check its permissions")
    if not h5py.is_hdf5(path):
        return StoreError(f"{path}: not an HDF5 file, {expected}; check the path")
    return StoreError(
        f"{path}: an HDF5 file that cannot be read ({error}), expected {kind} of this project; "
        "check the path, or have the stage that writes it run again (snakemake --force)"
    )


def _stored_digests(file: h5py.File) -> dict[str, str]:
    """The SHA-256 that the file states for each of its arrays, by path."""
    digests: dict[str, str] = {}

    def add_digest(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            digests[name] = str(item.attrs["sha256"])

    file.visititems(add_digest)
    return digests


def _dataset(path: str | Path, file: h5py.File, name: str) -> h5py.Dataset:
    if not isinstance(file.get(name), h5py.Dataset):
        raise StoreError(f"{path}: holds no {name}; it has {', '.join(_stored_digests(file))}")
    return file[name]


def _check_digest(path: str | Path, dataset: h5py.Dataset, name: str, digest: str) -> None:
    if digest != str(dataset.attrs["sha256"]):
        raise StoreError(f"{path}: {name} is damaged; delete it and run again")


def kind_of(path: str | Path) -> str:
    """The kind of a file that `write` wrote. Raises StoreError for any other file."""
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            if set(file.attrs) >= MARKS:
                return str(file.attrs["kind"])
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise _unreadable(path, "a file", error) from None
    raise StoreError(f"{path}: an HDF5 file of another program; check the path")


def read(path: str | Path, kind: str, names: Collection[str] | None = None) -> Contents:
    """Read a file that `write` wrote; check kind, format, attributes and every array read.

    names: the arrays to read; None for all.
    Raises StoreError if the file is missing, damaged, of another kind, or lacks an array.
    """
    arrays = {}
    with _opened(path, kind) as (file, attributes, digest):
        all_names = tuple(_stored_digests(file))
        for name in all_names if names is None else names:
            dataset = _dataset(path, file, name)
            arrays[name] = dataset[()]
            _check_digest(path, dataset, name, _array_digest(arrays[name]))
    return Contents(arrays, attributes, all_names, digest)


def read_symmetric(path: str | Path, kind: str, name: str) -> NDArray:
    """A matrix (d, d) that was written as `PackedSymmetric`; checks and errors as in `read`.

    The result is exactly symmetric. The triangle is read a few rows at a time.
    """
    with _opened(path, kind) as (file, _, _):
        dataset = _dataset(path, file, name)
        d = side_of(dataset.size)
        matrix = np.empty((d, d), dataset.dtype)
        sha = _hash(dataset.dtype, dataset.shape)
        start = 0
        for begin, end in row_spans(d, dataset.dtype):
            piece = dataset[start : start + packed_size(d, begin, end)]
            sha.update(piece.view(np.uint8))
            unpack_rows(matrix, begin, end, piece)
            start += len(piece)
        _check_digest(path, dataset, name, sha.hexdigest())
    return matrix


def edit_records_of(contents: Contents) -> list[dict[str, Any]]:
    """The records of all edited requests, stored as JSON in a checkpoint's contents."""
    return json.loads(contents.arrays["record"].tobytes())


def read_edit_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of all edited requests of a checkpoint file; reads no matrices."""
    return edit_records_of(read(path, "checkpoint", ["record"]))
