"""Models by what a person calls them: a directory, a file of config/models/ or its name, a hub id.

Imports no torch: names and settings are checked before a model is loaded.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mose.errors import ModelError
from mose.experiment.locations import workflow_folder
from mose.experiment.model_blocks import ModelFile
from mose.storage import files
from mose.storage.yaml_files import read_yaml
from mose.validation.refusals import closest_of, shown
from mose.validation.strict import read_block

MODELS = "config/models"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class NamedModel:
    """A model, and what its file says of it.

    name: as given. source: a `source` block. label: of its folder in the cache. file: path of the
    model's file; empty, and settings and architecture None, where there is none.
    """

    name: str
    source: dict[str, Any]
    label: str
    file: str = ""
    settings: dict[str, dict[str, Any]] | None = None
    architecture: dict[str, Any] | None = None


def model_files() -> dict[str, Path]:
    """The files of models by name: those of the package, then config/models/ in the working
    directory, which replace them."""
    found: dict[str, Path] = {}
    for folder in (workflow_folder() / MODELS, Path(MODELS)):
        found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return found


def read_model_file(path: str | Path) -> ModelFile:
    """A model's file. Raises ConfigError that names file and key."""
    return read_block(ModelFile, read_yaml(path), str(path))


def find_model(name: str | Path, revision: str | None = None) -> NamedModel:
    """The model called `name`.

    name: a directory or .gguf file; a .yaml file as those in config/models/, or its name
    (smollm2-135m); an id of the hub. A hub id gets the settings of the file that has it as source.
    revision: of a hub model. Raises ModelError for a name that is none of these.
    """
    text = str(name)
    path = Path(text).expanduser()
    known = model_files()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        _no_revision(revision, text, "a folder or file")
        where = str(path.resolve())
        return NamedModel(text, {"local": where}, f"{path.stem}-{files.digest_of(where)[:8]}")
    if path.suffix in (".yaml", ".yml") or text in known:
        _no_revision(revision, text, "a model's file, which states its revision")
        return _of_file(text, known.get(text, path))
    if "/" not in text or not HUB_ID.fullmatch(text):
        raise ModelError(
            f"model: {shown(text)} is no directory, no .gguf or .yaml file and no known name"
            f"{closest_of(text, [*known])}; known are {', '.join(known)}, or give an id of the hub "
            "(owner/name)"
        )
    source = {"hub": text, **({} if revision is None else {"revision": revision})}
    known_as = with_hub_id(text)
    if known_as is None:
        return NamedModel(text, source, text.replace("/", "--"))
    return replace(known_as, name=text, source={**known_as.source, **source})


def with_hub_id(name: str) -> NamedModel | None:
    """The model whose file has a hub id as its source; None if no file has."""
    for path in model_files().values():
        named = _of_file(name, path)
        if named.source.get("hub") == name:
            return named
    return None


def _of_file(name: str, path: Path) -> NamedModel:
    file = read_model_file(path)
    architecture = None if file.architecture is None else file.architecture.model_dump()
    source = file.source.model_dump()
    return NamedModel(name, source, path.stem, str(path), file.methods, architecture)


def _no_revision(revision: str | None, name: str, what: str) -> None:
    if revision is not None:
        raise ModelError(
            f"revision: found {revision!r} for {name}, {what}; leave it out, or give a hub id"
        )
