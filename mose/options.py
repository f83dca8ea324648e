"""The options of the editing methods, as dataclasses that check themselves.

Free of torch, so that a configuration can be refused before anything heavy is imported. The keys
of a config's `methods:` block are these fields; `lambda` is written `retention_weight` here,
since Python reserves the word.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from mose.errors import ConfigError

RESERVED = {"lambda": "retention_weight"}


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """What every method that optimises value targets needs.

    layers: the edited blocks, counted from 0; targets are optimised at the last of them.
    retention_weight: lambda, the weight of old knowledge (the second moment) against new.
    second_moment: "corpus", or "identity" for no statistics at all.
    steps: evaluations of the target loss per request; one step fewer is taken.
    learning_rate: Adam's, in units of what is optimised (a value, or a key on the input side).
    weight_decay: weight of ||delta|| / ||h||^2 in the loss (free targets only).
    clamp: bound of ||delta|| / ||h||, h the edited block's output (free targets only).
    kl_weight: weight of KL(edited || unedited) of the next token after the bare subject.
    stop_loss: a request leaves the optimisation once its loss is below this.
    """

    layers: tuple[int, ...]
    retention_weight: float
    learning_rate: float
    second_moment: str = "corpus"
    steps: int = 25
    weight_decay: float = 0.5
    clamp: float = 0.75
    kl_weight: float = 0.0625
    stop_loss: float = 0.05

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"second_moment": ("corpus", "identity")}

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name}: found {getattr(self, name)!r}, expected {' or '.join(allowed)}"
                )

    @property
    def target_space(self) -> str:
        """Where the target is sought: "free", on a "value" sphere, or on a "key" sphere."""
        return "free"


@dataclass(frozen=True, kw_only=True)
class MoseOptions(EditOptions):
    """MOSE: W <- R W as published, or one of the forms proposed here.

    side: "output", W <- R W; "input", W <- W Q.
    targets: "free" as published; "reachable": on the sphere that a rotation can reach.
    memory: "none" as published: a product of rotations, each for its own batch; "accumulate":
    one rotation for all edits so far.
    """

    side: str = "output"
    targets: str = "free"
    memory: str = "none"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **EditOptions.CHOICES,
        "side": ("output", "input"),
        "targets": ("free", "reachable"),
        "memory": ("none", "accumulate"),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side == "input" and self.targets == "free":
            raise ConfigError(
                "side: input needs targets: reachable; a rotated key keeps its length, "
                "so a free key is never reached, and no one has published that form"
            )
        if self.targets == "reachable" and len(self.layers) > 1:
            raise ConfigError(
                f"targets: reachable needs one layer, found {list(self.layers)}; the sphere is "
                "that of one projection's output, and several layers share no such sphere"
            )

    @property
    def target_space(self) -> str:
        if self.targets == "free":
            return "free"
        return "value" if self.side == "output" else "key"


@dataclass(frozen=True, kw_only=True)
class MemitOptions(EditOptions):
    """MEMIT: W <- W + Delta.

    memory: "none": each batch for itself, as published; "keys": earlier edited keys are kept
    where they are, by the term K_p K_p^T (MEMIT's sequential form).
    """

    memory: str = "none"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **EditOptions.CHOICES,
        "memory": ("none", "keys"),
    }


OPTIONS: dict[str, type[EditOptions]] = {"mose": MoseOptions, "memit": MemitOptions}


@dataclass(frozen=True)
class Variant:
    """One entry of the `methods:` block: a method and its options."""

    method: str
    options: EditOptions

    def as_dict(self) -> dict[str, Any]:
        """The entry again, complete with defaults, as the config spells it."""
        back = {v: k for k, v in RESERVED.items()}
        options = {back.get(k, k): v for k, v in asdict(self.options).items()}
        return {"method": self.method, **options, "layers": list(self.options.layers)}


def parse_variant(entry: Mapping[str, Any], where: str = "methods") -> Variant:
    """Read one entry of the `methods:` block; `where` names it in errors."""
    entry = dict(entry)
    method = entry.pop("method", None)
    if method not in OPTIONS:
        raise ConfigError(f"{where}.method: found {method!r}, expected one of {sorted(OPTIONS)}")
    kind = OPTIONS[method]
    known = {f.name for f in fields(kind)}
    values = {RESERVED.get(key, key): value for key, value in entry.items()}
    for key in values:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r} for method {method}")
    if "layers" in values:
        values["layers"] = tuple(values["layers"])
    try:
        return Variant(method, kind(**values))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except TypeError as error:
        missing = (
            str(error).split("argument")[-1].lstrip("s: ").replace("retention_weight", "lambda")
        )
        raise ConfigError(f"{where}: missing key {missing}") from None
