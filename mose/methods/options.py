"""The options of the editing methods, as dataclasses that check themselves.

Free of torch, so that a wrong config is refused before slow imports. The keys of a config's
`methods:` block are these fields, but `lambda`, which Python reserves, is `retention_weight` here.
`register` maps methods to options; `rotation_options`, `sequence_options`, `trained_options`,
`signal_options` and `wrapper_options` have further ones; docs/methods.md gives formulas and
sources.
"""

import json
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mose.validation.refusals import KeyRefused
from mose.validation.strict import (
    AS_WRITTEN,
    ASCENDING,
    LISTED,
    Checked,
    Count,
    Natural,
    NonNegative,
    Positive,
)

RESERVED = {"lambda": "retention_weight"}


class EditOptions(Checked):
    """Options of every method."""

    layers: Annotated[tuple[Natural, ...], LISTED, Field(min_length=1), ASCENDING] = Field(
        description="Edited blocks, counted from 0, ascending."
    )

    # Whether the requests of a batch are written one after another.
    ONE_BY_ONE: ClassVar[bool] = False

    @property
    def edit(self) -> "EditOptions":
        """Options of the method that edits: these, or for a wrapper those of its base."""
        return self


class IterativeOptions(EditOptions):
    """Options of methods that take steps on a loss, for value targets or for weights."""

    learning_rate: Positive = Field(
        description="Adam's learning rate, in units of what it optimises: a value (free targets, "
        "output side), a key (input side) or a weight (trained methods). Not used by optimiser: "
        "margin."
    )
    steps: Count = Field(
        default=25,
        description="Most evaluations of the loss per request. Adam takes one step fewer.",
    )
    stop_loss: NonNegative = Field(
        default=0.05, description="A request stops once its loss is below this."
    )


class TargetOptions(IterativeOptions):
    """Options of methods that optimise value targets and write them in closed form."""

    second_moment: Literal["corpus", "identity"] = Field(
        default="corpus",
        description="Statistics of old knowledge: the keys' second moment over the corpus, or "
        "identity for no statistics.",
    )
    targets: str = Field(
        default="free",
        description="Space of the value target: free, as published, or another one.",
    )
    optimiser: Literal["adam", "margin"] = Field(
        default="adam",
        description="Of value targets. adam: as published; margin: steps that aim at a loss below "
        "stop_loss, where 8 evaluations do for 20 of Adam.",
    )
    weight_decay: NonNegative = Field(
        default=0.5, description="Weight of ||delta|| / ||h||^2 in the loss. Free targets only."
    )
    clamp: Positive = Field(
        default=0.75,
        description="Bound of ||delta|| / ||h||, h the edited block's output. Free targets only.",
    )
    kl_weight: NonNegative = Field(
        default=0.0625,
        description="Weight of KL(edited || unedited) of the next token after the bare subject.",
    )
    patience: Natural | None = Field(
        default=None,
        description="A request also stops this many steps after its new object is the most "
        "probable in all templates (ENCORE's early stop). null: never.",
    )
    spread: Literal["even", "forward", "each"] = Field(
        default="even",
        description="How targets come to several layers. even, as published: one target at the "
        "last layer, of which each layer writes an equal share; forward: one at the first layer, "
        "which the model run forward turns into one for each (FE); each: sought at each layer in "
        "turn (BLUE, with the first and the last layer).",
    )

    # Clamp and weight decay are relative to the output of the block ("hidden") or of the projection
    # ("value").
    LENGTH_OF: ClassVar[str] = "hidden"
    # Weights of context templates in a mean key (mose.statistics.keys.template_weights).
    TEMPLATE_MEAN: ClassVar[str] = "half"

    def __post_init__(self) -> None:
        if self.spread == "each" and len(self.layers) > 1 and self.needs_unedited:
            raise KeyRefused(
                "spread",
                "each has a target for each layer, and replay and targets_from: unedited keep one "
                "per request; take it out, or these",
            )

    @property
    def target_layer(self) -> int:
        """The layer that targets are sought at; for spread: each, the last of them."""
        return self.layers[0 if self.spread == "forward" else -1]

    @property
    def target_space(self) -> str:
        """Space of the target: "free", or the sphere of the "value" or of the "key"."""
        return "free"

    @property
    def needs_unedited(self) -> bool:
        """Whether a sequence needs the unedited weights again."""
        return False

    def _needs_one_layer(self, why: str) -> None:
        if len(self.layers) > 1:
            raise KeyRefused("layers", f"{why} needs one layer, found {list(self.layers)}")


class LedgerOptions(TargetOptions):
    """Options of methods whose edits can be solved again from their wanted outputs."""

    replay: Natural = Field(
        default=0,
        description="Solve all edits so far again from the unedited weights whenever another this "
        "many are written; 0: never. Free targets only.",
    )
    targets_from: Literal["present", "unedited"] = Field(
        default="present",
        description="Model that value targets are sought on: present, with the edits so far, as "
        "published; or unedited.",
    )

    @property
    def needs_unedited(self) -> bool:
        return self.replay > 0 or self.targets_from == "unedited"


class LeastSquaresOptions(LedgerOptions):
    """Options of methods that are least squares over the keys of all edits they hold."""

    contexts: Literal["mean", "each"] = Field(
        default="mean",
        description="What a request asks of an update, in its context templates. mean, as "
        "published: the wanted change at the mean key; each: at the key of every template, "
        "weighted as in the mean. Free targets only.",
    )


class RetentionOptions(LedgerOptions):
    """Options of methods that weigh old knowledge against new."""

    retention_weight: Positive = Field(
        validation_alias="lambda",
        description="Retention weight: weight of old knowledge (the second moment per token) "
        "against new, in units of edits.",
    )


class AdditiveOptions(TargetOptions):
    """W <- W + Delta."""

    targets: Literal["free", "rescaled", "anchored"] = Field(
        default="free",
        description="free, as published; rescaled: scaled to the length of the hidden state "
        "before the shift; anchored: the projection's wanted output has one length for all "
        "requests (NAS).",
    )
    anchor: Positive | None = Field(
        default=None,
        description="Length of anchored targets, in the model's units; required for these and "
        "refused for others. `snakemake ... -- target_norms` measures it.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets == "anchored" and self.spread == "each" and len(self.layers) > 1:
            raise KeyRefused(
                "spread", "each needs a length for each layer, and anchor is one; set even"
            )
        if self.targets == "anchored" and self.anchor is None:
            raise KeyRefused(
                "anchor",
                "missing, and targets: anchored needs a length; measure it "
                "(snakemake ... -- target_norms) and put it into the model's file",
            )
        if self.targets != "anchored" and self.anchor is not None:
            raise KeyRefused(
                "anchor",
                f"found {self.anchor}, but targets: {self.targets} has no use for it; "
                "take it out, or set targets: anchored",
            )


class MemitOptions(AdditiveOptions, RetentionOptions, LeastSquaresOptions):
    """MEMIT."""

    memory: Literal["none", "keys"] = Field(
        default="none",
        description="none, as published: batches are independent; keys: earlier edited keys keep "
        "their values, by the term K_p K_p^T (MEMIT's sequential form).",
    )


class EncoreOptions(MemitOptions):
    """ENCORE: MEMIT with memory, a bound on the update's norm, and an early stop."""

    norm_weight: NonNegative = Field(
        default=10.0, description="Weight of ||Delta||_F^2, in units of edits."
    )
    memory: Literal["none", "keys"] = Field(
        default="keys",
        description="keys, as published: earlier edited keys keep their values; none.",
    )
    patience: Natural | None = Field(
        default=2,
        description="A request also stops this many steps after its new object is the most "
        "probable in all templates. null: never.",
    )


class EmmetOptions(AdditiveOptions, RetentionOptions):
    """EMMET."""

    relaxation: NonNegative = Field(
        default=0.1,
        description="e, relaxation of the equality constraint in batches of several requests; 0: "
        "equality. A single request is always written exactly.",
    )


class RomeOptions(AdditiveOptions):
    """ROME and R-ROME: rank one, one layer, one request after another."""

    clamp: Positive = Field(
        default=4.0,
        description="Bound of ||delta|| / ||v||, v the projection's output. Free targets only.",
    )

    LENGTH_OF: ClassVar[str] = "value"
    ONE_BY_ONE: ClassVar[bool] = True
    TEMPLATE_MEAN: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._needs_one_layer("a rank-one update")


class NullSpaceOptions(AdditiveOptions, LedgerOptions):
    """Options of methods that edit in the second moment's null space."""

    null_space: Literal["threshold", "energy"] = Field(
        default="threshold",
        description="Definition of the second moment's null space. threshold: eigenvectors with "
        "eigenvalues below null_threshold, as published; energy: all but the leading ones that "
        "hold the share null_energy of the trace.",
    )
    null_threshold: Positive = Field(
        default=0.02, description="Bound of the null space's eigenvalues (null_space: threshold)."
    )
    null_energy: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN] = Field(
        default=0.99, description="Share of the trace outside the null space (null_space: energy)."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.second_moment == "identity":
            raise KeyRefused(
                "second_moment",
                "found identity, which has no null space to edit in (all of its eigenvalues are "
                "1); set corpus",
            )


class AlphaEditOptions(NullSpaceOptions, LeastSquaresOptions):
    """AlphaEdit."""

    ridge: Positive = Field(default=10.0, description="Weight of ||Delta||_F^2 (the authors' L2).")
    memory: Literal["none", "keys"] = Field(
        default="keys",
        description="keys, as published: earlier edited keys keep their values; none.",
    )


@dataclass(frozen=True)
class Variant:
    """One entry of the `methods:` block: a method and its options."""

    method: str
    options: "EditOptions | WrapperOptions"

    @property
    def edit(self) -> EditOptions:
        """Options of the method that edits: the wrapper's base, if there is a wrapper."""
        return self.options.edit

    def as_dict(self) -> dict[str, Any]:
        """The entry with all defaults, spelled as in the config."""
        spelled = {v: k for k, v in RESERVED.items()}
        entry: dict[str, Any] = {"method": self.method}
        for f in fields(self.options):
            value = getattr(self.options, f.name)
            if isinstance(value, Variant):
                inner = value.as_dict()
                entry |= {"base": inner.pop("method"), **inner}
            else:
                entry[spelled.get(f.name, f.name)] = (
                    list(value) if isinstance(value, tuple) else value
                )
        return entry

    def as_json(self) -> str:
        """The entry as JSON: an argument of the programs, and part of a checkpoint's identity."""
        return json.dumps(self.as_dict(), sort_keys=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string"}


class WrapperOptions(Checked):
    """Options of a method that changes the update of another one, `base`."""

    base: Variant = Field(description="The wrapped method; its options are keys of the same entry.")

    def __post_init__(self) -> None:
        if not isinstance(self.base.options, AdditiveOptions):
            raise KeyRefused("base", f"{self.base.method} is not a closed-form additive method")

    @property
    def edit(self) -> EditOptions:
        return self.base.options.edit
