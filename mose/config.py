"""Reading a configuration: schema, defaults, and what a schema cannot say.

Free of torch, so that a workflow can be planned without it. Every refusal is one line that names
the key.
"""

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from mose.errors import ConfigError
from mose.options import Variant, parse_variant


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file; a missing or malformed one is a ConfigError that names it."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None


def _fill_defaults(
    validator: Draft202012Validator, properties: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for key, part in properties.items():
            if "default" in part:
                instance.setdefault(key, deepcopy(part["default"]))
    yield from Draft202012Validator.VALIDATORS["properties"](
        validator, properties, instance, schema
    )


_WithDefaults = jsonschema.validators.extend(Draft202012Validator, {"properties": _fill_defaults})


def validated(config: Mapping[str, Any], schema_path: str | Path, name: str) -> dict[str, Any]:
    """A copy of `config` that fits the schema, with the defaults filled in.

    name: what the configuration is called in errors.
    """
    schema = read_yaml(schema_path)
    filled = deepcopy(dict(config))
    error = best_match(_WithDefaults(schema).iter_errors(filled))
    if error is not None:
        raise ConfigError(f"{name}: {_explain(error)}")
    return filled


def _explain(error: ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path)) or "top level"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        for key in error.instance:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                return f"{where}: unknown key {key!r}; {hint}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where}: missing key {missing[0]!r}"
    if "propertyNames" in error.absolute_schema_path or error.validator == "pattern":
        return (
            f"{where}: {error.instance!r} cannot be used as a name here; use letters, digits, "
            "'-' and '_', beginning with a letter or digit ('unedited' is taken)"
        )
    return f"{where}: found {error.instance!r}; {error.message}"


def variants(config: Mapping[str, Any], name: str) -> dict[str, Variant]:
    """The parsed `methods:` block, by label.

    A key of another method (say `side` for memit) is refused, except where it has the value that
    the schema filled in.
    """
    return {
        label: parse_variant(entry, f"{name}: methods.{label}")
        for label, entry in config["methods"].items()
    }


def read_experiment(
    config: Mapping[str, Any], schemas: str | Path, name: str = "config"
) -> tuple[dict[str, Any], dict[str, Variant], dict[str, dict[str, Any]]]:
    """Everything a plan needs: the filled config, its variants, and its models by label.

    schemas: the folder of the schemas; model files are looked for in config/models/.
    """
    if not config:
        raise ConfigError("no configuration; give one with --configfile config/demo.yaml")
    filled = validated(config, Path(schemas) / "config.schema.yaml", name)
    edits = filled["edits"]
    for larger, smaller in (("total", "checkpoint"), ("checkpoint", "batch")):
        if edits[larger] % edits[smaller]:
            raise ConfigError(
                f"{name}: edits.{larger} ({edits[larger]}) must be a multiple of "
                f"edits.{smaller} ({edits[smaller]})"
            )
    for label, entry in filled["methods"].items():
        if entry["layers"] != sorted(entry["layers"]):
            raise ConfigError(f"{name}: methods.{label}.layers must ascend: {entry['layers']}")
    models = {}
    for model in filled["models"]:
        path = Path(model) if model.endswith(".yaml") else Path("config/models") / f"{model}.yaml"
        entry = validated(read_yaml(path) or {}, Path(schemas) / "model.schema.yaml", str(path))
        models[path.stem] = entry
    return filled, variants(filled, name), models
