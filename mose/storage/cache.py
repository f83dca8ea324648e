"""The user's cache: converted models and second moments that `mose.Editor` made, and settings that
`mose.tune` found.

It is ~/.cache/mose ($XDG_CACHE_HOME/mose where that is set); the environment variable MOSE_CACHE
names another folder. Everything in it can be made again.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mose.errors import StoreError

VARIABLE = "MOSE_CACHE"
KINDS = ("models", "statistics", "settings")


@dataclass(frozen=True)
class Entry:
    """One folder of the cache: its kind (KINDS), name, size in bytes, and path."""

    kind: str
    name: str
    size: int
    path: Path


def folder() -> Path:
    """The cache's folder, which may not exist yet. Raises StoreError if it is a file."""
    named = os.environ.get(VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    place = Path(named or f"{base}/mose").expanduser()
    if place.exists() and not place.is_dir():
        raise StoreError(f"{place}: a file, expected a folder for the cache; set {VARIABLE}")
    return place


def of_model(name: str) -> Path:
    """Folder of a converted model. name: of its file in config/models/, or a digest."""
    return folder() / "models" / name


def of_statistics(fingerprint: str, options: str) -> Path:
    """Folder of second moments. fingerprint: of the model; options: digest of the corpus'."""
    return folder() / "statistics" / f"{fingerprint[:16]}-{options[:8]}"


def of_settings(fingerprint: str) -> Path:
    """Folder of settings that were found for a model. fingerprint: of the model."""
    return folder() / "settings" / fingerprint[:16]


def entries() -> list[Entry]:
    """All entries, by kind and name."""
    return sorted(_entries(), key=lambda entry: (entry.kind, entry.name))


def _entries() -> Iterator[Entry]:
    for kind in KINDS:
        place = folder() / kind
        for path in place.iterdir() if place.is_dir() else ():
            files = [inner for inner in path.rglob("*") if inner.is_file()]
            yield Entry(kind, path.name, sum(inner.stat().st_size for inner in files), path)


def clear(kind: str | None = None) -> list[Entry]:
    """Remove all entries, or those of one kind (KINDS); returns what was removed.

    Only the folders of KINDS are touched, whatever else MOSE_CACHE holds.
    Raises StoreError for an entry that cannot be removed.
    """
    removed = [entry for entry in entries() if kind in (None, entry.kind)]
    for entry in removed:
        try:
            shutil.rmtree(entry.path)
        except OSError as error:
            raise StoreError(f"{entry.path}: cannot be removed ({error.strerror})") from None
    return removed
