"""What is written from the models of a configuration: docs/config.md, and schemas for editors.

`scripts/write_reference.py` writes the files, and a test compares them with what is written here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from mose.evaluation.tasks.definition import Task
from mose.experiment.blocks import Experiment, ModelFile
from mose.methods.options import WrapperOptions
from mose.methods.register import BASE, METHODS, additive_methods
from mose.validation.refusals import WORDS, branches_of, expected, resolved, values_of

SCHEMAS = "workflow/schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
TASK_KEY = {
    "type": "string",
    "minLength": 1,
    "description": "Take the task of this name (a file in config/tasks/) or path; other keys here "
    "change it.",
}
METHOD_KEY = {
    "enum": sorted(METHODS),
    "description": "The update rule. Required, here or in the settings.",
}
BASE_KEY = {
    "enum": additive_methods(),
    "default": BASE,
    "description": "The wrapped method, whose options stand beside this key.",
}
HEADER = """\
# Every key of a configuration

Written from the library by `make reference`: change `mose/experiment/blocks.py`,
`mose/methods/options.py` or `mose/evaluation/tasks/definition.py`, not this page. What is not
allowed is refused in one line that names the key, before anything runs. Editors with a YAML
language server complete the keys by `workflow/schemas/`.

An experiment is a file in `config/`, named with `--configfile`. Of several files a later one
changes what an earlier one says (`config/overlays/`).
"""


def files() -> dict[str, str]:
    """Texts of all generated files by their paths in the repository."""
    schemas = {
        "config": experiment_schema(),
        "overlay": overlay_schema(),
        "model": _schema(ModelFile),
        "task": task_schema(),
    }
    made = {
        f"{SCHEMAS}/{name}.schema.json": _as_json(_without(schema, WORDS))
        for name, schema in schemas.items()
    }
    return {**made, "docs/config.md": page()}


def experiment_schema() -> dict[str, Any]:
    """JSON schema of an experiment. A method's entry may have every method's options: which of
    them belong to its own is for the check to say."""
    schema = _schema(Experiment)
    entry = schema["$defs"]["MethodEntry"]
    entry["properties"] = {
        **entry["properties"], "method": METHOD_KEY, "base": BASE_KEY, **_options_of_all(),
    }  # fmt: skip
    entry["additionalProperties"] = False
    task = task_schema()
    schema["$defs"] |= task.pop("$defs", {})
    del task["$schema"], task["required"]
    task["properties"] = {"task": TASK_KEY, **task["properties"]}
    schema["$defs"]["Task"] = task
    (labels,) = schema["properties"]["tasks"]["patternProperties"]
    schema["properties"]["tasks"]["patternProperties"][labels] = {
        "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/Task"}]
    }
    return schema


def overlay_schema() -> dict[str, Any]:
    """JSON schema of what changes an experiment: the same keys, none of them required."""
    schema = _without(experiment_schema(), "required")
    assert isinstance(schema, dict)
    return schema


def task_schema() -> dict[str, Any]:
    """JSON schema of a task's file."""
    return _schema(Task)


def page() -> str:
    """docs/config.md."""
    parts = [HEADER, *_experiment_part(), *_methods_part()]
    parts += ["## Tasks\n", "An entry of `tasks:`, or a file in `config/tasks/`.\n"]
    task = task_schema()
    parts += [_table({"task": TASK_KEY, **task["properties"]}, task, task["required"])]
    model = _schema(ModelFile)
    parts += ["## Models\n", "A file in `config/models/`.\n"]
    parts += [_table(model["properties"], model, model["required"])]
    return "\n".join(parts)


def _experiment_part() -> Iterator[str]:
    schema = _schema(Experiment)
    defs = schema["$defs"]
    plain = dict(schema["properties"])
    for name in ("tasks", "methods"):
        plain[name] = {**plain[name], "patternProperties": {}}
    blocks = {name: part for name, part in plain.items() if _block(part, defs)}
    yield "## Experiments\n"
    single = {name: part for name, part in plain.items() if name not in blocks}
    yield _table(single, schema, schema["required"])
    for name, part in blocks.items():
        block = _block(part, defs)
        yield f"### `{name}{'.<label>' if values_of(part) else ''}`\n"
        yield f"{resolved(part, defs)['description']}\n"
        yield _table(block["properties"], schema, block.get("required", ()))


def _methods_part() -> Iterator[str]:
    schema = _schema(Experiment)
    entry = schema["$defs"]["MethodEntry"]
    yield "## Methods\n"
    yield (
        "An entry of `methods:` has a method and its options, or settings of the model's file. "
        "docs/methods.md gives the formulas and their sources.\n"
    )
    yield _table({"method": METHOD_KEY, **entry["properties"]}, schema, ())
    by_options: dict[type, list[str]] = {}
    for name, method in METHODS.items():
        by_options.setdefault(method.options, []).append(name)
    for kind, names in by_options.items():
        own = _schema(kind)
        if issubclass(kind, WrapperOptions):
            own["properties"]["base"] = BASE_KEY
            own["required"] = []
        yield f"### {', '.join(f'`{name}`' for name in names)}\n"
        yield f"{' '.join((kind.__doc__ or '').split())}\n"
        yield _table(own["properties"], own, own.get("required", ()))


def _options_of_all() -> dict[str, Any]:
    """Every option of every method, as one block's properties."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, method in METHODS.items():
        for key, part in _schema(method.options)["properties"].items():
            if key != "base":
                found.setdefault(key, {})[name] = part
    return {key: _merged(parts) for key, parts in found.items()}


def _merged(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One option, from the methods that have it."""
    forms: list[Mapping[str, Any]] = []
    meanings: dict[str, list[str]] = {}
    for name, part in parts.items():
        form = {k: v for k, v in part.items() if k not in ("description", "default")}
        if form not in forms:
            forms.append(form)
        meanings.setdefault(part["description"], []).append(name)
    said = " ".join(f"{', '.join(names)}: {text}" for text, names in meanings.items())
    form = dict(forms[0]) if len(forms) == 1 else {"anyOf": forms}
    return {**form, "description": said}


def _table(
    properties: Mapping[str, Any], schema: Mapping[str, Any], required: Sequence[str]
) -> str:
    lines = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    lines += _rows(properties, schema.get("$defs", {}), required, "")
    return "\n".join(lines) + "\n"


def _rows(
    properties: Mapping[str, Any], defs: Mapping[str, Any], required: Sequence[str], prefix: str
) -> Iterator[str]:
    for name, given in properties.items():
        part = resolved(given, defs)
        default = "required" if name in required else _default(part)
        cells = (f"`{prefix}{name}`", expected(part, defs), default, part["description"])
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        for branch in branches_of(part) or [part]:
            inner = resolved(branch, defs)
            if "properties" in inner:
                needed = inner.get("required", ())
                yield from _rows(inner["properties"], defs, needed, f"{prefix}{name}.")


def _default(part: Mapping[str, Any]) -> str:
    """A default as YAML writes it; empty for a key that is not there unless it is given."""
    if "default" not in part or part["default"] in ("", [], {}):
        return ""
    return f"`{json.dumps(part['default'])}`".replace('"', "")


def _block(part: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The block that a key holds, or holds by labels; empty for other keys."""
    inner = resolved(part, defs)
    inner = resolved(values_of(inner), defs) or inner
    return inner if "properties" in inner else {}


def _schema(kind: type) -> dict[str, Any]:
    """A model's JSON schema, without the titles that pydantic makes of names."""
    schema = _without(TypeAdapter[Any](kind).json_schema(), "title")
    assert isinstance(schema, dict)
    return {"$schema": DIALECT, **schema}


def _as_json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _without(part: Any, key: str) -> Any:
    """A JSON schema without a keyword, at every depth; properties of that name stay."""
    if isinstance(part, list):
        return [_without(one, key) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: {inner: _without(value, key) for inner, value in one.items()}
        if name in ("properties", "$defs")
        else _without(one, key)
        for name, one in part.items()
        if name != key
    }
