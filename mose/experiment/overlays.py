"""A configuration of several files, and of keys on the command line."""

from collections.abc import Iterable, Mapping
from typing import Any

# Keys that say where data are. The other keys of a `source` belong to one of these.
PLACES = ("hub", "file", "builtin")


def merged(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One configuration of several, of which a later one overrides keys of an earlier one.

    Mappings are merged key by key. A `source` with one of PLACES replaces the earlier one: that
    one's subset or revision would be of other data. The layers stay as they are.
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = result.get(key)
            if not isinstance(value, Mapping):
                result[key] = value
            elif not isinstance(before, Mapping) or _is_other_source(key, value):
                result[key] = merged([value])
            else:
                result[key] = merged([before, value])
    return result


def _is_other_source(key: str, value: Mapping[str, Any]) -> bool:
    return key == "source" and any(place in value for place in PLACES)
