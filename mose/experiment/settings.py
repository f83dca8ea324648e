"""Settings of a method for a model: what is given, else the model's file, else what `mose.tune`
found, else a known model's.

Imports no torch: names and options are checked before a model is loaded.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mose.errors import ConfigError, StoreError
from mose.experiment.model_files import model_files, read_model_file
from mose.methods.options import RESERVED, Variant
from mose.methods.register import METHODS, parse_variant
from mose.storage import cache, files
from mose.validation.refusals import one_of


@dataclass(frozen=True)
class Form:
    """What a person's name of a method means.

    entries: of a model's file; the first that it has counts. options: what makes the form; they
    replace those of any entry but the first. method: of the register. what: it is, in one line.
    fixed: the options replace the first entry's as well, and no one may give others.
    """

    entries: tuple[str, ...]
    options: Mapping[str, Any]
    method: str
    what: str = ""
    fixed: bool = False


# `mose` is the form that is advised; change it here.
FORMS = {
    "mose": Form(
        ("mose-both", "mose"), {"side": "both", "targets": "free", "memory": "accumulate"}, "mose",
        "W <- R W Q with memory, ours; every form by -o side=..., memory=..., targets=...",
    ),
    "mose-published": Form(
        ("mose",), {"side": "output", "targets": "free", "memory": "none"}, "mose",
        "W <- R W as published", fixed=True,
    ),
    "memit-memory": Form(
        ("memit-memory", "memit"), {"memory": "keys"}, "memit",
        "MEMIT that keeps the keys of all edits", fixed=True,
    ),
}  # fmt: skip
SPELLED = {name: key for key, name in RESERVED.items()}
WHERE = "options"


@dataclass(frozen=True)
class KnownModel:
    """A model of config/models/ that has settings of a method: its name, sizes, and entry."""

    name: str
    blocks: int
    parameters: int
    entry: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """A method's options, of which some may depend on the model's size.

    options: given and fixed ones. own: the entry of the model's file, and its place in `origin`.
    others: models whose entry is used, if the model has none and the options do not suffice.
    method: as it was asked for, if there are others.
    """

    options: dict[str, Any]
    origin: str
    own: Mapping[str, Any]
    others: tuple[KnownModel, ...] = ()
    method: str = ""

    def tuned(self, fingerprint: str) -> "Settings":
        """These settings; with what `remember` kept for the model in place of another model's.

        fingerprint: of the model. Raises StoreError for a damaged file.
        """
        path = _tuned_file(fingerprint, self.method)
        if not self.others or not path.is_file():
            return self
        found = files.read_json(path)
        try:
            settings = Settings(
                {**found["entry"], **self.options},
                f"found by mose.tune on {found['edits']} built-in facts, score "
                f"{found['score']:.3f} ({path})",
                {},
            )
            parse_variant(found["entry"], WHERE)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise StoreError(f"{path}: no settings of mose.tune ({error}); remove it") from None
        return settings

    def entry(self, blocks: int, parameters: int) -> dict[str, Any]:
        """The entry for a model of `blocks` blocks and `parameters` parameters."""
        if not self.others:
            return {**self.own, **self.options}
        known = self._nearest(parameters)
        layers = moved(known.entry["layers"], known.blocks, blocks)
        return {**known.entry, "layers": layers, **self.options}

    def variant(self, blocks: int, parameters: int) -> Variant:
        """The variant for a model of that size. Raises ConfigError for wrong options."""
        return parse_variant(self.entry(blocks, parameters), WHERE)

    def says(self, blocks: int, parameters: int) -> str:
        """The settings and where they come from, in one line."""
        entry = self.entry(blocks, parameters)
        options = ", ".join(f"{key} {entry[key]}" for key in entry if key != "method")
        origin = self._others_origin(blocks, parameters) if self.others else self.origin
        return f"{entry['method']}: {options}; {origin}"

    def _others_origin(self, blocks: int, parameters: int) -> str:
        """Whose settings a model of that size takes, and what they are worth."""
        known = self._nearest(parameters)
        if (known.blocks, known.parameters) == (blocks, parameters):
            return f"those of {known.name}, which has as many blocks and parameters"
        return (
            f"no settings for this model: those of {known.name} ({known.blocks} blocks), its "
            f"layers moved to the same depth of {blocks} blocks; not tuned: mose.tune finds "
            "better ones"
        )

    def _nearest(self, parameters: int) -> KnownModel:
        """The known model with the most like number of parameters."""
        return min(self.others, key=lambda known: abs(math.log(known.parameters / parameters)))


def moved(layers: list[int], blocks: int, to: int) -> list[int]:
    """Layers of a model of `blocks` blocks at the same relative depth of a model of `to` blocks.

    As many in proportion but at least one, one after another.
    """
    first = round(layers[0] * (to - 1) / (blocks - 1))
    count = max(1, min(len(layers), round(len(layers) * to / blocks)))
    return list(range(first, min(first + count, to)))


def choose(
    method: str,
    options: Mapping[str, Any],
    known: Mapping[str, Mapping[str, Any]] | None = None,
    file: str = "",
) -> Settings:
    """The settings of a method, checked as far as they can be without the model.

    method: a name of FORMS, an entry of the model's file, or a method of the register.
    options: override an entry's; `lambda` may be spelled retention_weight. If they state all that
    the method needs, and the model's file has no entry, nothing else is used.
    known: the `methods:` of the model's file, whose path is `file`; None without one.
    Without an entry of the model's file, that of the model in config/models/ with the most like
    number of parameters is used, with its layers `moved`.
    Raises ConfigError for an unknown method or wrong options.
    """
    given = {SPELLED.get(key, key): value for key, value in options.items()}
    form = FORMS.get(method, Form((method,), {}, method))
    for key in given.keys() & form.options.keys():
        if form.fixed and given[key] != form.options[key]:
            raise ConfigError(
                f"options.{key}: found {given[key]!r}, but {method} means {form.options[key]!r}; "
                f"leave it out, or take method={form.method!r}"
            )
    for label in form.entries:
        if known and label in known:
            own = {**_completed(form, label), **given}
            settings = Settings(own, f"{file}: methods.{label}", known[label])
            parse_variant(settings.entry(1, 1), WHERE)
            return settings
    entry = {"method": form.method, **form.options, **given}
    if form.method in METHODS and _suffices(entry):
        return Settings(entry, "as given", {})
    others = tuple(_known_models(form))
    if form.method not in METHODS and not others:
        names = list(dict.fromkeys([*FORMS, *(known or {}), *METHODS]))
        raise ConfigError(f"method: {one_of(method, names)}")
    for other in others:
        parse_variant({**other.entry, **given}, WHERE)
    if not others:
        parse_variant(entry, WHERE)  # which says what is missing
    return Settings(given, "", {}, others, method)


def remember(
    fingerprint: str, method: str, entry: Mapping[str, Any], score: float, edits: int
) -> Path:
    """Keep settings that were found for a model, for `Settings.tuned`; returns their file.

    fingerprint: of the model. method: as a person calls it. entry: the method and all its options.
    score: of the ranking. edits: facts that it was found on.
    """
    path = _tuned_file(fingerprint, method)
    files.write_json(path, {"entry": dict(entry), "score": score, "edits": edits})
    return path


def _tuned_file(fingerprint: str, method: str) -> Path:
    return cache.of_settings(fingerprint) / f"{method or 'none'}.json"


def _completed(form: Form, label: str) -> Mapping[str, Any]:
    """What makes an entry `label` of a model's file one of the form."""
    return form.options if form.fixed or label != form.entries[0] else {}


def _known_models(form: Form) -> list[KnownModel]:
    """The models of config/models/ that have an entry of the form, and state their sizes."""
    found = []
    for name, path in model_files().items():
        file = read_model_file(path)
        label = next((label for label in form.entries if label in file.methods), None)
        if label is not None and file.shape is not None:
            entry = {**file.methods[label], **_completed(form, label)}
            found.append(KnownModel(name, file.shape.blocks, file.shape.parameters, entry))
    return found


def _suffices(entry: dict[str, Any]) -> bool:
    """Whether an entry has every option that its method needs."""
    try:
        parse_variant(entry, WHERE)
    except ConfigError:
        return False
    return True
