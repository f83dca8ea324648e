"""Reads a configuration: its blocks, variants and tasks, and the checks that span blocks.

Imports no torch: the workflow plans with it. Every refusal is one line that names the key.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mose.errors import ConfigError
from mose.evaluation.tasks.definition import Task, parse_task
from mose.experiment.blocks import Experiment
from mose.experiment.locations import find
from mose.experiment.model_blocks import ModelFile
from mose.experiment.resources import Shape
from mose.methods.options import Variant
from mose.methods.register import read_variant, target_identity, target_variant
from mose.storage.files import digest_of
from mose.storage.yaml_files import read_yaml
from mose.validation.refusals import KeyRefused, shown
from mose.validation.strict import read_block

# A model's name is part of paths, and of patterns of paths.
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Folders of the workflow's own under results/.
TAKEN = ("models", "logs", "benchmarks")
# And under results/<experiment>/, beside the models'.
WITHIN = ("figures", "captions", "so_far", "task_items", "options")


def expand_scan(label: str, entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One entry per combination of the values in `scan:`, by label.

    Raises KeyRefused for combinations whose labels would be the same.
    """
    entry = dict(entry)
    scan = entry.pop("scan", None)
    if scan is None:
        return {label: entry}
    entries: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*scan.values()):
        chosen = dict(zip(scan, values, strict=True))
        parts = [f"{key}{_in_label(value)}" for key, value in chosen.items() if len(scan[key]) > 1]
        name = "_".join([label, *parts])
        other = entries.setdefault(name, {**entry, **chosen})
        for key, value in chosen.items():
            if other[key] != value:
                raise KeyRefused(
                    "scan",
                    f"{shown(other[key])} and {shown(value)} of {key} would both have the label "
                    f"{name!r}; make an entry of its own for one of them",
                )
    return entries


def _in_label(value: Any) -> str:
    """A value as part of a label: letters, digits, '-' and '_', without dots, signs and brackets.

    Numbers of one type have labels of their own; texts that differ in other characters do not.
    """
    if isinstance(value, list):
        return "-".join(map(_in_label, value))
    text = str(value).replace(".", "p").replace("-", "m").replace("+", "")
    return re.sub("[^A-Za-z0-9_]", "-", text)


def variants(
    methods: Mapping[str, Any], settings: Mapping[str, Any], name: str, model: str
) -> dict[str, Variant]:
    """The parsed `methods:` block for one model, by label.

    settings: the `methods:` of the model's file, which an entry's `settings` names. name, model:
    names of the experiment's file and the model's file in errors.
    Raises ConfigError for unknown settings, a label used twice, and what options refuse.
    """
    parsed: dict[str, Variant] = {}
    for label, entry in methods.items():
        own = dict(entry)
        where = f"{name}: methods.{label}"
        own.pop("until", None)
        wanted = own.pop("settings", None)
        named: Mapping[str, Any] = {}
        if wanted is not None:
            if wanted not in settings:
                known = ", ".join(settings) or "none"
                raise ConfigError(f"{where}.settings: {model} has no {wanted!r}; known are {known}")
            named = settings[wanted]
            if "scan" in named:
                raise ConfigError(f"{model}: methods.{wanted}: scan belongs to an experiment")
        try:
            expanded = expand_scan(label, {**named, **own})
        except KeyRefused as error:
            raise error.within(where) from None
        for variant, options in expanded.items():
            if variant in parsed:
                raise ConfigError(f"{where}: {variant!r} is the label of another variant as well")
            try:
                parsed[variant] = read_variant(options)
            except KeyRefused as error:
                key = error.key.partition("[")[0]
                in_settings = key in named and key not in {**own, **own.get("scan", {})}
                place = f"{model}: methods.{wanted}" if in_settings else where
                raise error.within(place) from None
    return parsed


def sequence_ends(methods: Mapping[str, Any], total: int) -> dict[str, int]:
    """Number of edits that each variant runs to, by label: `until`, or `total` if that is less."""
    return {
        label: min(entry.get("until", total), total)
        for name, entry in methods.items()
        for label in expand_scan(name, entry)
    }


def read_tasks(entries: Mapping[str, Any], name: str) -> dict[str, Task]:
    """The parsed `tasks:` block, by label.

    An entry is the name of a file in config/tasks/ without .yaml, the path of such a file, or the
    task itself. With `task: NAME`, the entry's other keys override the file's.
    """
    parsed = {}
    for label, value in entries.items():
        where = f"{name}: tasks.{label}"
        entry = _mapping({"task": value} if isinstance(value, str) else value, where)
        wanted = entry.pop("task", None)
        if wanted is not None:
            path = _file_of(wanted, "config/tasks", f"{where}.task")
            entry = {**_mapping(read_yaml(path), str(path)), **entry}
        parsed[label] = parse_task(entry, where)
    return parsed


def _mapping(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: found {shown(entry)}, expected keys with values")
    return dict(entry)


def _file_of(name: Any, folder: str, where: str) -> Path:
    """A .yaml file by its path, or by its name in `folder` (see `locations.find`)."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: found {shown(name)}, expected a name or the path of a file")
    return find(name if name.endswith(".yaml") else f"{folder}/{name}.yaml")


def check_tasks(filled: Mapping[str, Any], tasks: Mapping[str, Task], name: str) -> None:
    """Refuse tasks that contradict the edits: their interval, and the facts that they ask for."""
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
                    f"{name}: tasks.{label} uses built-in facts of the part {part}, some of which "
                    f"datasets.{dataset} edits; set datasets.{dataset}.part: {other[part]}"
                )


def check_consistency(filled: Mapping[str, Any], name: str) -> None:
    """Refuse `measure.consistency` without sampled texts or without reference texts."""
    if not filled["measure"]["consistency"]:
        return
    if not filled["measure"]["fluency"]:
        raise ConfigError(
            f"{name}: measure.consistency needs the texts that measure.fluency samples; set "
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
    """A model of an experiment.

    source, shape, architecture: blocks of the model's file, the last two None if it has none.
    variants: by label. file: path of the model's file.
    """

    source: dict[str, Any]
    variants: dict[str, Variant]
    shape: Shape | None = None
    file: str = ""
    architecture: dict[str, Any] | None = None

    @property
    def layers(self) -> list[int]:
        """All layers that any variant edits."""
        return sorted({layer for v in self.variants.values() for layer in v.edit.layers})

    @property
    def seekers(self) -> dict[str, Variant]:
        """The variants that stand for targets on the unedited model, by `target_label`."""
        seekers = {}
        for variant in self.variants.values():
            label, seeker = target_label(variant), target_variant(variant)
            if label is not None and seeker is not None:
                seekers[label] = seeker
        return seekers


def read_experiment(
    config: Mapping[str, Any], name: str = "config"
) -> tuple[dict[str, Any], dict[str, Model]]:
    """The config with all defaults filled in, and its models by label.

    name: name of the config in errors. Names of models and tasks mean files in config/models/ and
    config/tasks/. Raises ConfigError.
    """
    if not config:
        raise ConfigError("no configuration; give one with --configfile config/demo.yaml")
    filled = read_block(Experiment, dict(config), name).model_dump()
    check_experiment(filled, name)
    tasks = read_tasks(filled["tasks"], name)
    check_tasks(filled, tasks, name)
    filled["tasks"] = {label: task.as_dict() for label, task in tasks.items()}
    return filled, read_models(filled, name)


def target_label(variant: Variant) -> str | None:
    """Name of the folder of a variant's targets on the unedited model; None if it has none."""
    seeker = target_variant(variant)
    if seeker is None:
        return None
    return f"layer{seeker.edit.layers[-1]}-{digest_of(target_identity(seeker))[:8]}"


def check_experiment(filled: Mapping[str, Any], name: str) -> None:
    """Refuse blocks that are valid alone and contradict each other."""
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
    for label, entry in filled["methods"].items():
        until = entry.get("until", edits["checkpoint"])
        if until % edits["checkpoint"]:
            raise ConfigError(
                f"{name}: methods.{label}.until ({until}) must be a multiple of edits.checkpoint "
                f"({edits['checkpoint']})"
            )
    if edits["conflicts"] and edits["total"] < 2 * edits["checkpoint"]:
        raise ConfigError(
            f"{name}: edits.conflicts needs two segments, since a request conflicts with one of "
            f"the segment before; raise edits.total ({edits['total']}) or lower edits.checkpoint "
            f"({edits['checkpoint']})"
        )
    if filled["gpus"] > 1 and filled["device"] != "cuda":
        raise ConfigError(
            f"{name}: gpus: {filled['gpus']} needs device: cuda, found {filled['device']!r}"
        )
    check_consistency(filled, name)
    measured, heldout = filled["measure"], filled["corpus"]["heldout"]
    if measured["prefixed"] and measured["prefix_tokens"] > heldout:
        raise ConfigError(
            f"{name}: measure.prefix_tokens ({measured['prefix_tokens']}) must be at most "
            f"corpus.heldout ({heldout}), from which that text is taken"
        )


def read_models(filled: Mapping[str, Any], name: str) -> dict[str, Model]:
    """The models of an experiment by label, each with its variants."""
    models: dict[str, Model] = {}
    for model in filled["models"]:
        path = _file_of(model, "config/models", f"{name}: models")
        if not MODEL_NAME.fullmatch(path.stem):
            raise ConfigError(
                f"{name}: models: {model!r} cannot be used; name the file with letters, digits, "
                "'-', '_' and '.', beginning with a letter or digit"
            )
        if path.stem in WITHIN:
            raise ConfigError(
                f"{name}: models: {model!r} cannot be used, since an experiment has a folder of "
                f"its own called {path.stem}; rename the file"
            )
        if path.stem in models:
            raise ConfigError(
                f"{name}: models: {path.stem!r} is the name of two files, whose results would "
                "share a folder; rename one"
            )
        file = read_block(ModelFile, read_yaml(path), str(path))
        own_variants = variants(filled["methods"], file.methods, name, str(path))
        shape = None if file.shape is None else Shape(**file.shape.model_dump())
        architecture = None if file.architecture is None else file.architecture.model_dump()
        models[path.stem] = Model(
            file.source.model_dump(), own_variants, shape, str(path), architecture
        )
    return models
