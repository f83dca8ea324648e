"""Reading YAML files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml import MappingNode, ScalarNode

from mose.errors import ConfigError

MERGE = "tag:yaml.org,2002:merge"


class _RepeatedKey(Exception):
    """A mapping holds one key twice."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but a repeated key is an error; PyYAML keeps the last value.

    The check is in the composer, before `<<` is merged, because keys may override merged ones.
    """

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag == MERGE:
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                raise _RepeatedKey(
                    f"line {line}: key {key.value!r} is stated twice (first on line "
                    f"{lines[key.tag, key.value]}), and only one value can count; remove one"
                )
            lines[key.tag, key.value] = line
        return node


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Raises ConfigError if it is missing, unreadable, not YAML, or holds a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    except _RepeatedKey as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    finally:
        loader.dispose()


def typed(value: Any) -> Any:
    """Give texts in a nested value the types that they have as plain YAML: `['0']` is `[0]`.

    Snakemake reads lists and mappings of `--config seeds=[0]` without types.
    """
    if isinstance(value, Mapping):
        return {key: typed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [typed(entry) for entry in value]
    if not isinstance(value, str):
        return value
    loader = _Loader("")
    try:
        tag = loader.resolve(ScalarNode, value, (True, False))
        return loader.construct_object(ScalarNode(tag, value))
    finally:
        loader.dispose()
