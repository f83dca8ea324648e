"""What `mose inspect`, `check`, `methods`, `models` and `cache` say."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from mose.cli.editing import Records
from mose.errors import ConfigError, RequestError, StoreError
from mose.experiment.model_files import model_files, read_model_file
from mose.experiment.settings import FORMS
from mose.facts.requests import replaced_by
from mose.methods.descriptions import DESCRIPTIONS, Description
from mose.methods.options import RESERVED
from mose.methods.register import BASE, METHODS
from mose.storage import cache, files
from mose.storage.records import is_records
from mose.storage.yaml_files import read_yaml
from mose.validation.refusals import one_of

CONFIGURATIONS = (".yaml", ".yml")
Row = dict[str, Any]


def describe(path: str) -> Row:
    """What a file or an exported folder is. Raises StoreError for what is not of this project."""
    place = Path(path)
    record = place / "mose.json"
    if record.is_file():
        return {"kind": "exported model", "size": _size(place), **_record(files.read_json(record))}
    if place.is_dir():
        raise StoreError(f"{path}: a folder without mose.json; give a file of this project")
    if place.suffix == ".safetensors":
        from mose.editing.patches import read_patch

        patch = read_patch(path)
        matrices = [
            {"matrix": name, "form": one["form"], "rank": one["rank"]}
            for name, one in patch.tensors.items()
        ]
        stated = {
            "base": patch.base, "method": patch.method, "facts": patch.facts,
            "digest": patch.digest,
        }  # fmt: skip
        about = {"kind": "patch", "size": _size(place), "dtype": patch.dtype, **_record(stated)}
        return {**about, "matrices": matrices}
    if place.is_file() and is_records(path):
        raise StoreError(f"{path}: a file of records, which mose check looks into")
    return _hdf5(path)


def _hdf5(path: str) -> Row:
    from mose.storage import hdf5

    kind = hdf5.kind_of(path)
    contents = hdf5.read(path, kind, ["record"] if kind == "checkpoint" else [])
    arrays = [name for name in contents.names if name != "record"]
    about: Row = {"kind": kind, "size": _size(Path(path)), "digest": contents.digest}
    about |= {name: value for name, value in contents.attributes.items() if value != ""}
    if kind != "checkpoint":
        return {**about, "arrays": arrays}
    about["resumable by mose.Editor"] = "session" in arrays
    done = hdf5.edit_records_of(contents)
    about["edited"] = [{k: one[k] for k in ("request", "loss", "attained")} for one in done]
    return about


def _record(stated: Row) -> Row:
    """Base, method and facts of a patch or an exported model, flat."""
    base = stated["base"]
    facts = [
        {key: fact[key] for key in ("subject", "prompt", "target_new")} for fact in stated["facts"]
    ]
    return {
        "base": base["name"],
        "revision": base.get("revision"),
        "fingerprint": base["fingerprint"],
        "method": ", ".join(f"{key} {value}" for key, value in stated["method"].items()),
        "digest": stated["digest"],
        "edits": len(facts),
        "facts": facts,
    }


def check(given: Records) -> tuple[Row, bool]:
    """A report of a configuration or a file of facts, and whether it can be used whole.

    Raises ConfigError or RequestError, which name key or line, for what cannot be read.
    """
    path = given.path
    if Path(path).suffix not in CONFIGURATIONS:
        from mose.facts.given import without_keys
        from mose.facts.readers import read_facts_of

        try:
            facts, report = read_facts_of(path, given.form, columns=given.columns)
        except RequestError as error:
            raise without_keys(error) from None
        without = sum(not fact.target_new for fact in facts)
        repeated = sum(map(len, replaced_by(facts).values()))
        about = {
            **{"kind": "facts", **report.as_dict()},
            **{"without_target_new": without, "replaced_by_later": repeated},
        }
        return about, not report.refused
    if given.form or given.columns:
        raise ConfigError(
            f"{path}: a configuration, which has its own form and columns; leave "
            "--form and --columns out"
        )
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: found no keys, expected an experiment or a model's file")
    if "source" in content and "experiment" not in content:
        from mose.methods.register import parse_variant

        file = read_model_file(path)
        for label, entry in file.methods.items():
            parse_variant(entry, f"{path}: methods.{label}")
        return {"kind": "model", "settings": [*file.methods]}, True
    from mose.experiment.config import read_experiment
    from mose.experiment.plan import Plan

    filled, models = read_experiment(content, path)
    Plan(filled, models).check()
    variants = sorted({label for model in models.values() for label in model.variants})
    return {
        "kind": "experiment",
        "experiment": filled["experiment"],
        "models": [*models],
        "datasets": [*filled["datasets"]],
        "methods": variants,
        "edits": filled["edits"]["total"],
    }, True


def methods(names: Sequence[str] = ()) -> list[Row]:
    """Methods that an editor can be asked for: name, what it does, source, cost, use, and options
    that have no default.

    names: of those wanted; all if empty. Source, cost and use are "" for methods of other packages.
    Raises ConfigError for a name that is none.
    """
    known = [*dict.fromkeys([*METHODS, *FORMS])]
    for name in names:
        if name not in known:
            raise ConfigError(f"methods: {one_of(name, known)}")
    rows = []
    for name in names or known:
        form = FORMS.get(name)
        method = METHODS[form.method if form else name]
        needed = _required(method.options)
        if "base" in needed:  # a wrapper needs what its base needs, by default MEMIT
            needed = [one for one in needed if one != "base"] + _required(METHODS[BASE].options)
        about = DESCRIPTIONS.get(name)
        if about is None:
            what = form.what if form else (method.options.__doc__ or "").partition("\n")[0]
            about = Description(what, "", "", "")
        rows.append({"method": name, **asdict(about), "needs": needed})
    return rows


def _required(options: type) -> list[str]:
    """Options without a default, as in a configuration."""
    spelled = {name: key for key, name in RESERVED.items()}
    return [spelled.get(one.name, one.name) for one in fields(options) if _is_required(one)]


def _is_required(field: Any) -> bool:
    default = field.default
    if default is MISSING:
        return field.default_factory is MISSING
    return getattr(default, "is_required", lambda: False)()


def models() -> list[Row]:
    """Every model's file: name, source, sizes, and the methods with settings."""
    rows = []
    for name, path in model_files().items():
        file = read_model_file(path)
        source = next(iter(file.source.model_dump().values()))
        if isinstance(source, list):  # a file that is divided among packages
            source = ", ".join(part["package"] for part in source)
        shape = file.shape
        rows.append(
            {
                "model": name,
                "source": source,
                "parameters": None if shape is None else shape.parameters,
                "blocks": None if shape is None else shape.blocks,
                "settings": [*file.methods],
            }
        )
    return rows


def cached() -> list[Row]:
    """The cache's entries."""
    return [_entry(entry) for entry in cache.entries()]


def clear_cache(kind: str | None) -> list[Row]:
    """Remove entries, all or of one kind; returns those removed."""
    if kind is not None and kind not in cache.KINDS:
        raise ConfigError(f"--kind: {one_of(kind, cache.KINDS)}")
    return [_entry(entry) for entry in cache.clear(kind)]


def _entry(entry: cache.Entry) -> Row:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "bytes": entry.size,
        "path": str(entry.path),
    }


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    found = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in found)
