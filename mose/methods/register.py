"""The register of the editing methods: options and editors, and parsing of `methods:` entries.

Free of torch: rows name their editor as text, which `editors.make_editor` imports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mose.errors import ConfigError
from mose.methods import (
    context_options,
    options,
    rotation_options,
    sequence_options,
    signal_options,
    trained_options,
    wrapper_options,
)
from mose.methods.options import (
    RESERVED,
    AdditiveOptions,
    EditOptions,
    LedgerOptions,
    Variant,
    WrapperOptions,
)
from mose.methods.plugins import Register, files_of_editor
from mose.validation.refusals import KeyRefused, either, one_of, unknown_key

# Default of a wrapper's `base`.
BASE = "memit"


@dataclass(frozen=True)
class Method:
    """One row of the register: class of the options, and editor as "module:name"."""

    options: type[EditOptions] | type[WrapperOptions]
    editor: str


OWN: dict[str, Method] = {
    "mose": Method(rotation_options.MoseOptions, "mose.methods.mose:mose_editor"),
    "rome": Method(options.RomeOptions, "mose.methods.rome:RomeEditor"),
    "r-rome": Method(options.RomeOptions, "mose.methods.rome:ConsistentRomeEditor"),
    "memit": Method(options.MemitOptions, "mose.methods.memit:MemitEditor"),
    "emmet": Method(options.EmmetOptions, "mose.methods.emmet:EmmetEditor"),
    "alphaedit": Method(options.AlphaEditOptions, "mose.methods.alphaedit:AlphaEditEditor"),
    "encore": Method(options.EncoreOptions, "mose.methods.encore:EncoreEditor"),
    "betaedit": Method(sequence_options.BetaEditOptions, "mose.methods.betaedit:BetaEditEditor"),
    "evoedit": Method(sequence_options.EvoEditOptions, "mose.methods.evoedit:EvoEditEditor"),
    "lyaplock": Method(sequence_options.LyapLockOptions, "mose.methods.lyaplock:LyapLockEditor"),
    "ft": Method(trained_options.FineTuneOptions, "mose.methods.ft:FineTuneEditor"),
    "oft": Method(trained_options.TrainedRotationOptions, "mose.methods.oft:TrainedRotationEditor"),
    "locft-bf": Method(trained_options.LocFTOptions, "mose.methods.locft:LocFTEditor"),
    "ultraedit": Method(signal_options.UltraEditOptions, "mose.methods.ultraedit:UltraEditEditor"),
    "stableedit": Method(
        signal_options.StableEditOptions, "mose.methods.stableedit:StableEditEditor"
    ),
    "in-context": Method(
        context_options.InContextOptions, "mose.methods.in_context:UneditedEditor"
    ),
    "rect": Method(wrapper_options.RectOptions, "mose.methods.rect:RectEditor"),
    "prune": Method(wrapper_options.PruneOptions, "mose.methods.prune:PruneEditor"),
    "sphere": Method(wrapper_options.SphereOptions, "mose.methods.sphere:SphereEditor"),
    "isospectral": Method(
        wrapper_options.IsospectralOptions, "mose.methods.isospectral:IsospectralEditor"
    ),
    "revive": Method(wrapper_options.ReviveOptions, "mose.methods.revive:ReviveEditor"),
    "rect-aligned": Method(
        wrapper_options.AlignedRectOptions, "mose.methods.aligned:AlignedRectEditor"
    ),
    "prune-aligned": Method(
        wrapper_options.AlignedPruneOptions, "mose.methods.aligned:AlignedPruneEditor"
    ),
}
METHODS: Mapping[str, Method] = Register(OWN, Method)


def additive_methods() -> list[str]:
    """Names of the methods that a wrapper can wrap."""
    return sorted(n for n, method in METHODS.items() if issubclass(method.options, AdditiveOptions))


def keys_of(kind: type[EditOptions] | type[WrapperOptions]) -> list[str]:
    """Names of the options as spelled in a config."""
    spelled = {name: key for key, name in RESERVED.items()}
    return [spelled.get(f.name, f.name) for f in fields(kind)]


def entry_keys() -> list[str]:
    """All keys an entry may have: its own, and the options of every method."""
    options_of_all = [key for method in METHODS.values() for key in keys_of(method.options)]
    return list(dict.fromkeys(["settings", "method", "until", "scan", *options_of_all]))


def files_of(variant: Variant) -> list[str]:
    """Source files of a variant's method and of its base (`plugins.files_of_editor`)."""
    wrapper = variant.options
    base = files_of(wrapper.base) if isinstance(wrapper, WrapperOptions) else []
    return [*files_of_editor(METHODS[variant.method].editor), *base]


def read_variant(entry: Mapping[str, Any]) -> Variant:
    """Read one entry of the `methods:` block.

    Raises KeyRefused, which names the key; `parse_variant` adds the entry's place.
    """
    values = dict(entry)
    if "method" not in values:
        _refuse_unknown(values, entry_keys())
        raise KeyRefused("", f"missing key 'method', expected {either(sorted(METHODS))}")
    method = values.pop("method")
    if not isinstance(method, str) or method not in METHODS:
        raise KeyRefused("method", one_of(method, sorted(METHODS)))
    kind = METHODS[method].options
    known = keys_of(kind)
    if issubclass(kind, WrapperOptions):
        base = values.pop("base", BASE)
        if base in [*METHODS] and base not in additive_methods():
            wrapped = either(additive_methods())
            reason = f"{base} is not a closed-form additive method, expected {wrapped}"
            raise KeyRefused("base", reason)
        if base not in additive_methods():
            raise KeyRefused("base", one_of(base, additive_methods()))
        known += keys_of(METHODS[base].options)
        _refuse_unknown(values, known, f" for method {method} of {base}")
        own = {key: values.pop(key) for key in keys_of(kind) if key in values}
        return Variant(method, kind(base=read_variant({**values, "method": base}), **own))
    _refuse_unknown(values, known, f" for method {method}")
    return Variant(method, kind(**values))


# Options that decide a target of the unedited model, beside the layer that it is sought at.
TARGET_KEYS = (
    *("optimiser", "learning_rate", "steps", "stop_loss", "patience"),
    *("targets", "anchor", "weight_decay", "clamp", "kl_weight"),
)


def target_variant(variant: Variant) -> Variant | None:
    """The variant that stands for all that seek the same targets on the unedited model.

    MEMIT at that layer with the options that decide them. None for variants that seek targets
    on the edited model.
    """
    options = variant.edit
    if not isinstance(options, LedgerOptions) or options.targets_from != "unedited":
        return None
    values = {key: getattr(options, key) for key in TARGET_KEYS if hasattr(options, key)}
    return read_variant(
        {
            "method": "memit",
            "layers": [options.target_layer],
            "lambda": 1,
            "targets_from": "unedited",
            **values,
        }
    )


def target_identity(seeker: Variant) -> dict[str, Any]:
    """What a target of the unedited model depends on, of a `target_variant`.

    The seeker's other options decide nothing, so a new one leaves finished targets valid.
    """
    options = seeker.edit
    decides = {key: getattr(options, key) for key in TARGET_KEYS}
    return {"layer": options.layers[-1], **decides}


def parse_variant(entry: Mapping[str, Any], where: str = "methods") -> Variant:
    """Read one entry of the `methods:` block; `where` names it in errors (ConfigError)."""
    try:
        return read_variant(entry)
    except KeyRefused as error:
        raise error.within(where) from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _refuse_unknown(values: Mapping[str, Any], known: Sequence[str], whose: str = "") -> None:
    for key in values:
        if key not in known:
            raise KeyRefused("", unknown_key(key, known, whose))
