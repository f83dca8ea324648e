"""Reading a configuration: schema, defaults, and what a schema cannot say.

Free of torch, so that a workflow can be planned without it. Every refusal is one line that names
the key.
"""

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from mose.errors import ConfigError
from mose.evaluation.tasks.definition import Task, parse_task
from mose.experiment.locations import find
from mose.experiment.resources import Shape
from mose.methods.options import Variant, parse_variant

# A model's name is part of paths, and of patterns of paths.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What the workflow itself keeps under results/.
TAKEN = ("models", "logs", "benchmarks")


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
    return _checked(config, read_yaml(schema_path), name)


def _checked(config: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
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


def expand_scan(label: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """An entry with `scan:` as one entry for every combination of its values, by label."""
    entry = dict(entry)
    scan = entry.pop("scan", None)
    if scan is None:
        return {label: entry}
    made = {}
    for values in itertools.product(*scan.values()):
        chosen = dict(zip(scan, values, strict=True))
        parts = [f"{key}{_in_label(value)}" for key, value in chosen.items() if len(scan[key]) > 1]
        made["_".join([label, *parts])] = {**entry, **chosen}
    return made


def _in_label(value: Any) -> str:
    """A value as part of a label: no dots, signs or brackets."""
    if isinstance(value, list):
        return "-".join(map(str, value))
    return str(value).replace(".", "p").replace("-", "m").replace("+", "")


def variants(
    methods: Mapping[str, Any],
    settings: Mapping[str, Any],
    schema: Mapping[str, Any],
    name: str,
    model: str,
) -> dict[str, Variant]:
    """The parsed `methods:` block for one model, by label.

    settings: the model's own `methods:`, which an entry's `settings` names; model: its file.
    schema: of the whole experiment. Every entry is checked against its part for a variant again
    when it is complete: what settings and scans bring is not in the experiment's own text.
    """
    made: dict[str, Variant] = {}
    variant_schema = {**schema["$defs"]["variant"], "$defs": schema["$defs"]}
    for label, given in methods.items():
        entry = dict(given)
        where = f"{name}: methods.{label}"
        wanted = entry.pop("settings", None)
        if wanted is not None:
            if wanted not in settings:
                known = ", ".join(settings) or "none"
                raise ConfigError(f"{where}.settings: {model} has no {wanted!r}; known are {known}")
            if "scan" in settings[wanted]:
                raise ConfigError(f"{model}: methods.{wanted}: scan belongs to an experiment")
            entry = {**settings[wanted], **entry}
        for one, options in expand_scan(label, entry).items():
            if one in made:
                raise ConfigError(f"{where}: {one!r} is the label of another variant as well")
            made[one] = parse_variant(_checked(options, variant_schema, where), where)
            layers = list(made[one].edit.layers)
            if layers != sorted(layers):
                raise ConfigError(f"{where}.layers must ascend: {layers}")
    return made


def read_tasks(
    entries: Mapping[str, Any], schema: Mapping[str, Any], name: str, beside: str | Path
) -> dict[str, Task]:
    """The parsed `tasks:` block, by label.

    An entry is the name of a file in config/tasks/ without .yaml, the path of such a file, or a
    task of its own; with `task: NAME` its other keys change what the file says.
    beside: the folder of the Snakefile, where files are looked for as well (`locations.find`).
    """
    made = {}
    task_schema = {**schema["$defs"]["task"], "$defs": schema["$defs"]}
    for label, given in entries.items():
        entry = {"task": given} if isinstance(given, str) else dict(given)
        where = f"{name}: tasks.{label}"
        wanted = entry.pop("task", None)
        if wanted is not None:
            named = wanted.endswith(".yaml")
            path = Path(wanted) if named else Path("config/tasks") / f"{wanted}.yaml"
            path = find(path, beside)
            entry = {**_checked(read_yaml(path) or {}, task_schema, str(path)), **entry}
        made[label] = parse_task(_checked(entry, task_schema, where), where)
    return made


def check_tasks(filled: Mapping[str, Any], tasks: Mapping[str, Task], name: str) -> None:
    """What only the whole experiment can say of its tasks."""
    edits = filled["edits"]
    every = edits.get("tasks_every", edits["checkpoint"])
    if every % edits["checkpoint"] or every > edits["total"]:
        raise ConfigError(
            f"{name}: edits.tasks_every ({every}) must be a multiple of edits.checkpoint "
            f"({edits['checkpoint']}) and at most edits.total ({edits['total']})"
        )
    other = {"tuning": "evaluation", "evaluation": "tuning"}
    for label, task in tasks.items():
        if task.source.get("builtin") != "facts":
            continue
        part = task.source.get("part", "tuning")
        for dataset, entry in filled["datasets"].items():
            if entry["source"] == "builtin" and entry["part"] != other[part]:
                raise ConfigError(
                    f"{name}: tasks.{label} asks for built-in facts of the part {part}, of which "
                    f"datasets.{dataset} edits some; set datasets.{dataset}.part: {other[part]}"
                )


def check_consistency(filled: Mapping[str, Any], name: str) -> None:
    """Refuse to compare texts that are not written, or with references that cannot be there."""
    if not filled["measure"]["consistency"]:
        return
    if not filled["measure"]["fluency"]:
        raise ConfigError(
            f"{name}: measure.consistency is of the texts that measure.fluency asks for; set "
            "measure.fluency to a number of requests"
        )
    for label, entry in filled["datasets"].items():
        if entry["source"] == "builtin":
            raise ConfigError(
                f"{name}: measure.consistency needs reference texts, and datasets.{label} (the "
                "built-in table) has none; set it to false, or give records with references"
            )


@dataclass(frozen=True)
class Model:
    """A model of an experiment: its source, the variants that are run on it, by label, and its
    shape, where its file has it."""

    source: dict[str, Any]
    variants: dict[str, Variant]
    shape: Shape | None = None

    @property
    def layers(self) -> list[int]:
        """All layers that any variant edits: their second moments are one file."""
        return sorted({layer for v in self.variants.values() for layer in v.edit.layers})


def read_experiment(
    config: Mapping[str, Any], schemas: str | Path, name: str = "config"
) -> tuple[dict[str, Any], dict[str, Model]]:
    """Everything a plan needs: the filled config, and its models by label.

    schemas: the folder of the schemas, workflow/schemas/ beside the Snakefile. Files of config/ are
    looked for in the working directory, then beside the Snakefile.
    """
    beside = Path(schemas).parents[1]
    if not config:
        raise ConfigError("no configuration; give one with --configfile config/demo.yaml")
    schema = read_yaml(Path(schemas) / "config.schema.yaml")
    filled = _checked(config, schema, name)
    if filled["experiment"] in TAKEN:
        raise ConfigError(
            f"{name}: experiment: {filled['experiment']!r} is taken; results/ keeps "
            f"{', '.join(TAKEN)} there"
        )
    edits = filled["edits"]
    for larger, smaller in (("total", "checkpoint"), ("checkpoint", "batch")):
        if edits[larger] % edits[smaller]:
            raise ConfigError(
                f"{name}: edits.{larger} ({edits[larger]}) must be a multiple of "
                f"edits.{smaller} ({edits[smaller]})"
            )
    if filled["gpus"] > 1 and filled["device"] != "cuda":
        raise ConfigError(
            f"{name}: gpus: {filled['gpus']} needs device: cuda, found {filled['device']!r}"
        )
    check_consistency(filled, name)
    tasks = read_tasks(filled["tasks"], schema, name, beside)
    check_tasks(filled, tasks, name)
    filled["tasks"] = {label: task.as_dict() for label, task in tasks.items()}
    models: dict[str, Model] = {}
    for model in filled["models"]:
        path = Path(model) if model.endswith(".yaml") else Path("config/models") / f"{model}.yaml"
        path = find(path, beside)
        if not MODEL_NAME.fullmatch(path.stem):
            raise ConfigError(
                f"{name}: models: {model!r} cannot be used; name the file with letters, digits, "
                "'-', '_' and '.', beginning with a letter or digit"
            )
        if path.stem in models:
            raise ConfigError(
                f"{name}: models: {path.stem!r} is the name of two files, whose results would "
                "share a folder; rename one"
            )
        entry = validated(read_yaml(path) or {}, Path(schemas) / "model.schema.yaml", str(path))
        own = variants(filled["methods"], entry["methods"], schema, name, str(path))
        shape = Shape(**entry["shape"]) if "shape" in entry else None
        models[path.stem] = Model(entry["source"], own, shape)
    return filled, models
