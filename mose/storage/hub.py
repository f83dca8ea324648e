"""Records of a data set of the hub, or of a local folder in its layout, through `datasets`."""

from collections.abc import Iterator, Mapping
from typing import Any

from mose.errors import ExtraMissing, RequestError
from mose.storage.records import without_nulls


def records(source: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Stream the records of `source`: hub (id or folder), subset, split ("train"), revision.

    Fields that are null are left out.
    key: names the source in errors. Raises RequestError when it cannot be had or read,
    ExtraMissing without `datasets`.
    """
    try:
        import datasets
    except ImportError:
        raise ExtraMissing(f"{key}: {source['hub']}", "datasets", "workflow") from None

    try:
        rows = datasets.load_dataset(
            source["hub"],
            source.get("subset"),
            split=source.get("split", "train"),
            revision=source.get("revision"),
            streaming=True,
        )
        yield from map(without_nulls, rows)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RequestError(f"{key}: {source['hub']}: {reason}") from None
