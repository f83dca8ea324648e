"""Records of a data set on the Hugging Face hub, or in a local folder, read with `datasets`."""

from collections.abc import Iterator, Mapping
from typing import Any

from mose.errors import ExtraMissing, RequestError
from mose.storage.records import without_nulls


def records(source: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Stream the records of a data set, without their null fields.

    source: keys `hub` (id or folder), `subset`, `split` (default "train"), `revision`.
    key: config key, for errors. Raises RequestError if the data set cannot be fetched or read,
    ExtraMissing without `datasets`.
    """
    try:
        import datasets
    except ImportError:
        raise ExtraMissing(f"{key}: {source['hub']}", "datasets", "hub") from None

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
