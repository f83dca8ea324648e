"""The options of the editing methods, as dataclasses that check themselves, and their register.

Free of torch, so that a configuration can be refused before anything heavy is imported. The keys
of a config's `methods:` block are these fields; `lambda` is written `retention_weight` here,
since Python reserves the word. docs/methods.md gives the formulas and their sources.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from mose.errors import ConfigError

RESERVED = {"lambda": "retention_weight"}


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """What every method needs.

    layers: the edited blocks, counted from 0; value targets are optimised at the last of them.
    learning_rate: Adam's, in units of what is optimised.
    steps: evaluations of the loss per request; one step fewer is taken.
    stop_loss: a request is done once its loss is below this.
    """

    layers: tuple[int, ...]
    learning_rate: float
    steps: int = 25
    stop_loss: float = 0.05

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name}: found {getattr(self, name)!r}, expected {' or '.join(allowed)}"
                )

    @property
    def edit(self) -> "EditOptions":
        """The options of the method that edits: these, or those of what is wrapped."""
        return self


@dataclass(frozen=True, kw_only=True)
class TargetOptions(EditOptions):
    """What methods need that optimise value targets and then write them in closed form.

    second_moment: "corpus", or "identity" for no statistics at all.
    targets: "free"; some methods know other spaces.
    weight_decay: weight of ||delta|| / ||h||^2 in the loss (free targets only).
    clamp: bound of ||delta|| / ||h||, h the edited block's output (free targets only).
    kl_weight: weight of KL(edited || unedited) of the next token after the bare subject.
    patience: a request also leaves this many steps after the new object is the most probable in
    all templates (ENCORE's early stop); None for never.
    """

    second_moment: str = "corpus"
    targets: str = "free"
    weight_decay: float = 0.5
    clamp: float = 0.75
    kl_weight: float = 0.0625
    patience: int | None = None

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "second_moment": ("corpus", "identity"),
        "targets": ("free",),
    }
    # What clamp and weight decay are relative to: the block's output, or the projection's.
    LENGTH_OF: ClassVar[str] = "hidden"
    # Whether a batch's requests are written one after another, each from where the last one led.
    ONE_BY_ONE: ClassVar[bool] = False

    @property
    def target_space(self) -> str:
        """Where the target is sought: "free", on a "value" sphere, or on a "key" sphere."""
        return "free"

    def _needs_one_layer(self, why: str) -> None:
        if len(self.layers) > 1:
            raise ConfigError(f"{why} needs one layer, found {list(self.layers)}")


@dataclass(frozen=True, kw_only=True)
class RetentionOptions(TargetOptions):
    """Methods that weigh old knowledge against new.

    retention_weight: lambda, the weight of the second moment, in units of edits.
    """

    retention_weight: float


@dataclass(frozen=True, kw_only=True)
class MoseOptions(RetentionOptions):
    """MOSE: W <- R W as published, or one of the forms proposed here.

    side: "output", W <- R W; "input", W <- W Q.
    targets: "free" as published; "reachable": on the sphere that a rotation can reach.
    memory: "none" as published: a product of rotations, each for its own batch; "accumulate":
    one rotation for all edits so far.
    """

    side: str = "output"
    memory: str = "none"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **TargetOptions.CHOICES,
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
        if self.targets == "reachable":
            self._needs_one_layer("several layers share no sphere; targets: reachable")

    @property
    def target_space(self) -> str:
        if self.targets == "free":
            return "free"
        return "value" if self.side == "output" else "key"


@dataclass(frozen=True, kw_only=True)
class AdditiveOptions(TargetOptions):
    """W <- W + Delta. targets: "rescaled" puts free targets back to the length of the hidden
    state they started from (NAS)."""

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **TargetOptions.CHOICES,
        "targets": ("free", "rescaled"),
    }


@dataclass(frozen=True, kw_only=True)
class MemitOptions(AdditiveOptions, RetentionOptions):
    """MEMIT.

    memory: "none": each batch for itself, as published; "keys": earlier edited keys are kept
    where they are, by the term K_p K_p^T (MEMIT's sequential form).
    """

    memory: str = "none"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **AdditiveOptions.CHOICES,
        "memory": ("none", "keys"),
    }


@dataclass(frozen=True, kw_only=True)
class EncoreOptions(MemitOptions):
    """ENCORE: MEMIT with memory, a bound on the update's norm, and an early stop.

    norm_weight: weight of ||Delta||_F^2, in units of edits.
    """

    norm_weight: float = 10.0
    memory: str = "keys"
    patience: int | None = 2


@dataclass(frozen=True, kw_only=True)
class EmmetOptions(AdditiveOptions, RetentionOptions):
    """EMMET. relaxation: e, how far the equality constraint is loosened; 0 for equality."""

    relaxation: float = 0.1


@dataclass(frozen=True, kw_only=True)
class RomeOptions(AdditiveOptions):
    """ROME and R-ROME: rank one, one layer, one request after another."""

    clamp: float = 4.0

    LENGTH_OF: ClassVar[str] = "value"
    ONE_BY_ONE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._needs_one_layer("a rank-one update")


@dataclass(frozen=True, kw_only=True)
class AlphaEditOptions(AdditiveOptions):
    """AlphaEdit.

    ridge: weight of ||Delta||_F^2 (the authors' L2).
    null_space: "threshold": eigenvectors of the second moment with eigenvalues below
    null_threshold, as the authors do; "energy": all but the leading ones that hold the share
    null_energy of the trace.
    memory: "keys": earlier edited keys keep their values, as published; "none".
    """

    ridge: float = 10.0
    null_space: str = "threshold"
    null_threshold: float = 0.02
    null_energy: float = 0.99
    memory: str = "keys"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        **AdditiveOptions.CHOICES,
        "null_space": ("threshold", "energy"),
        "memory": ("none", "keys"),
    }


@dataclass(frozen=True, kw_only=True)
class TrainedOptions(EditOptions):
    """What methods need that are trained on the new objects, without statistics or targets.

    minibatch: requests per step of Adam.
    """

    learning_rate: float = 5e-4
    minibatch: int = 10


@dataclass(frozen=True, kw_only=True)
class FineTuneOptions(TrainedOptions):
    """Fine-tuning of the edited projections on the new objects.

    norm_constraint: bound of every entry's change in a batch of edits; None for none.
    """

    stop_loss: float = 0.01
    norm_constraint: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedRotationOptions(TrainedOptions):
    """A block-diagonal rotation of the input, trained by Adam.

    blocks: diagonal blocks; they must divide the width of the input.
    ball: size of the ball that each block's generator is kept in, per entry (COFT's eps).
    """

    stop_loss: float = 0.0
    blocks: int = 4
    ball: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class WrapperOptions:
    """A method that changes what another one does; the other keys are that one's options.

    base: the wrapped method.
    """

    base: "Variant"

    def __post_init__(self) -> None:
        if not isinstance(self.base.options, AdditiveOptions):
            raise ConfigError(f"base: {self.base.method} is not a closed-form additive method")

    @property
    def edit(self) -> EditOptions:
        return self.base.options.edit


@dataclass(frozen=True, kw_only=True)
class RectOptions(WrapperOptions):
    """RECT. kept_share: share of the update's entries that is kept."""

    kept_share: float = 0.4


@dataclass(frozen=True, kw_only=True)
class PruneOptions(WrapperOptions):
    """PRUNE. log_base: base of the logarithm that large singular values are reduced by."""

    log_base: float = math.e


@dataclass(frozen=True, kw_only=True)
class SphereOptions(WrapperOptions):
    """SPHERE.

    strength: alpha, how much of the update along the weight's main directions is taken out.
    energy: eta, share of the directions' energy that makes them main.
    """

    strength: float = 0.8
    energy: float = 0.5


@dataclass(frozen=True)
class Method:
    """One row of the register: options, and where the editor is ("module:name")."""

    options: type[EditOptions] | type[WrapperOptions]
    editor: str


METHODS: dict[str, Method] = {
    "mose": Method(MoseOptions, "mose.methods.mose:mose_editor"),
    "rome": Method(RomeOptions, "mose.methods.rome:RomeEditor"),
    "r-rome": Method(RomeOptions, "mose.methods.rome:ConsistentRomeEditor"),
    "memit": Method(MemitOptions, "mose.methods.memit:MemitEditor"),
    "emmet": Method(EmmetOptions, "mose.methods.emmet:EmmetEditor"),
    "alphaedit": Method(AlphaEditOptions, "mose.methods.alphaedit:AlphaEditEditor"),
    "encore": Method(EncoreOptions, "mose.methods.encore:EncoreEditor"),
    "ft": Method(FineTuneOptions, "mose.methods.ft:FineTuneEditor"),
    "oft": Method(TrainedRotationOptions, "mose.methods.oft:TrainedRotationEditor"),
    "rect": Method(RectOptions, "mose.methods.rect:RectEditor"),
    "prune": Method(PruneOptions, "mose.methods.prune:PruneEditor"),
    "sphere": Method(SphereOptions, "mose.methods.sphere:SphereEditor"),
}


@dataclass(frozen=True)
class Variant:
    """One entry of the `methods:` block: a method and its options."""

    method: str
    options: EditOptions | WrapperOptions

    @property
    def edit(self) -> EditOptions:
        """The options of the method that edits, under any wrapper."""
        return self.options.edit

    def as_dict(self) -> dict[str, Any]:
        """The entry again, complete with defaults, as the config spells it."""
        back = {v: k for k, v in RESERVED.items()}
        entry: dict[str, Any] = {"method": self.method}
        for f in fields(self.options):
            value = getattr(self.options, f.name)
            if isinstance(value, Variant):
                inner = value.as_dict()
                entry |= {"base": inner.pop("method"), **inner}
            else:
                entry[back.get(f.name, f.name)] = list(value) if isinstance(value, tuple) else value
        return entry

    def as_json(self) -> str:
        """The entry as text: what a program is told, and what a checkpoint is tied to."""
        return json.dumps(self.as_dict(), sort_keys=True)

    def files(self) -> list[str]:
        """The library's files that define the method, relative to the repository."""
        module = METHODS[self.method].editor.partition(":")[0]
        base = self.options.base.files() if isinstance(self.options, WrapperOptions) else []
        return [f"{module.replace('.', '/')}.py", *base]


def parse_variant(entry: Mapping[str, Any], where: str = "methods") -> Variant:
    """Read one entry of the `methods:` block; `where` names it in errors."""
    entry = dict(entry)
    method = entry.pop("method", None)
    if method not in METHODS:
        raise ConfigError(f"{where}.method: found {method!r}, expected one of {sorted(METHODS)}")
    kind = METHODS[method].options
    known = {f.name for f in fields(kind)}
    values = {RESERVED.get(key, key): value for key, value in entry.items()}
    if issubclass(kind, WrapperOptions):
        inner = {key: value for key, value in entry.items() if key not in known}
        values = {key: value for key, value in values.items() if key in known}
        values["base"] = parse_variant({**inner, "method": entry.get("base", "memit")}, where)
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
