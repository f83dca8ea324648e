"""The options of the editing methods, as dataclasses that check themselves.

Free of torch, so that a configuration can be refused before anything heavy is imported. The keys
of a config's `methods:` block are these fields; `lambda` is written `retention_weight` here,
since Python reserves the word. `register` says which method has which, `wrapper_options` has those
of RECT, PRUNE and SPHERE; docs/methods.md gives the formulas and their sources.
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
    """What every method needs."""

    layers: Annotated[tuple[Natural, ...], LISTED, Field(min_length=1), ASCENDING] = Field(
        description="Edited blocks, counted from 0, ascending. Value targets are optimised at the "
        "last of them."
    )
    learning_rate: Positive = Field(
        description="Adam's learning rate, in units of what is optimised: a value (free targets, "
        "output side), a key (input side) or a weight (trained methods)."
    )
    steps: Count = Field(
        default=25,
        description="Evaluations of the loss per request, at most. One step fewer is taken.",
    )
    stop_loss: NonNegative = Field(
        default=0.05, description="A request is done once its loss is below this."
    )

    # Whether a batch's requests are written one after another, each from where the last one led.
    ONE_BY_ONE: ClassVar[bool] = False

    @property
    def edit(self) -> "EditOptions":
        """The options of the method that edits: these, or those of what is wrapped."""
        return self


class TargetOptions(EditOptions):
    """What methods need that optimise value targets and then write them in closed form."""

    second_moment: Literal["corpus", "identity"] = Field(
        default="corpus",
        description="Statistics of old knowledge: the keys' second moment over the corpus, or "
        "identity for no statistics at all.",
    )
    targets: str = Field(
        default="free",
        description="Where the value target is sought: free, as published, or in another space.",
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
        "probable in all templates (ENCORE's early stop). null for never.",
    )

    # What clamp and weight decay are relative to: the block's output, or the projection's.
    LENGTH_OF: ClassVar[str] = "hidden"
    # How context templates are weighed in a mean key (mose.statistics.keys.template_weights).
    TEMPLATE_MEAN: ClassVar[str] = "half"

    @property
    def target_space(self) -> str:
        """Where the target is sought: "free", on a "value" sphere, or on a "key" sphere."""
        return "free"

    def _needs_one_layer(self, why: str) -> None:
        if len(self.layers) > 1:
            raise KeyRefused("layers", f"{why} needs one layer, found {list(self.layers)}")


class RetentionOptions(TargetOptions):
    """Methods that weigh old knowledge against new."""

    retention_weight: Positive = Field(
        validation_alias="lambda",
        description="Retention weight: weight of old knowledge (the second moment per token) "
        "against new, in units of edits.",
    )


class MoseOptions(RetentionOptions):
    """MOSE: W <- R W as published, or one of the forms proposed here."""

    side: Literal["output", "input"] = Field(
        default="output", description="output: W <- R W, as published; input: W <- W Q."
    )
    targets: Literal["free", "reachable"] = Field(
        default="free",
        description="free, as published; reachable: on the sphere that a rotation can reach, for "
        "one layer.",
    )
    memory: Literal["none", "accumulate"] = Field(
        default="none",
        description="none, as published: a product of rotations, each for its own batch; "
        "accumulate: one rotation for all edits so far.",
    )

    def __post_init__(self) -> None:
        if self.side == "input" and self.targets == "free":
            raise KeyRefused(
                "side",
                "input needs targets: reachable; a rotated key keeps its length, "
                "so a free key is never reached, and no one has published that form",
            )
        if self.targets == "reachable":
            self._needs_one_layer("several layers share no sphere; targets: reachable")

    @property
    def target_space(self) -> str:
        if self.targets == "free":
            return "free"
        return "value" if self.side == "output" else "key"


class AdditiveOptions(TargetOptions):
    """W <- W + Delta."""

    targets: Literal["free", "rescaled", "anchored"] = Field(
        default="free",
        description="free, as published; rescaled: put back to the length of the hidden state "
        "they started from; anchored: the projection's wanted output gets one length for all "
        "requests (NAS).",
    )
    anchor: Positive | None = Field(
        default=None,
        description="That length, in the model's units. Anchored targets only, which need it; the "
        "target target_norms measures it.",
    )

    def __post_init__(self) -> None:
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


class MemitOptions(AdditiveOptions, RetentionOptions):
    """MEMIT."""

    memory: Literal["none", "keys"] = Field(
        default="none",
        description="none, as published: each batch for itself; keys: earlier edited keys keep "
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
        "probable in all templates. null for never.",
    )


class EmmetOptions(AdditiveOptions, RetentionOptions):
    """EMMET."""

    relaxation: NonNegative = Field(
        default=0.1,
        description="e, how far the equality constraint is loosened in a batch of several; 0 for "
        "equality, which a request alone always has.",
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


class AlphaEditOptions(AdditiveOptions):
    """AlphaEdit."""

    ridge: Positive = Field(default=10.0, description="Weight of ||Delta||_F^2 (the authors' L2).")
    null_space: Literal["threshold", "energy"] = Field(
        default="threshold",
        description="How the second moment's null space is told. threshold: eigenvectors with "
        "eigenvalues below null_threshold, as published; energy: all but the leading ones that "
        "hold the share null_energy of the trace.",
    )
    null_threshold: Positive = Field(
        default=0.02, description="Eigenvalues below this are null (null_space: threshold)."
    )
    null_energy: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN] = Field(
        default=0.99, description="Share of the trace that is not null (null_space: energy)."
    )
    memory: Literal["none", "keys"] = Field(
        default="keys",
        description="keys, as published: earlier edited keys keep their values; none.",
    )


class TrainedOptions(EditOptions):
    """What methods need that are trained on the new objects, without statistics or targets."""

    learning_rate: Positive = Field(
        default=5e-4, description="Adam's learning rate, in units of a weight."
    )
    steps: Count = Field(
        default=25,
        description="Rounds through the requests that are trained together, at most. Each ends "
        "with a step.",
    )

    @property
    def per_step(self) -> int | None:
        """Requests per step of Adam; None for all that are trained together."""
        return None


class FineTuneOptions(TrainedOptions):
    """Fine-tuning of the edited projections on the new objects."""

    stop_loss: NonNegative = Field(
        default=0.01, description="A batch is done once its loss is below this."
    )
    norm_constraint: Positive | None = Field(
        default=None,
        description="Bound of every entry's change in a batch of edits. null for none.",
    )
    minibatch: Count = Field(default=10, description="Requests per step of Adam.")

    @property
    def per_step(self) -> int | None:
        return self.minibatch


class TrainedRotationOptions(TrainedOptions):
    """A block-diagonal rotation of the input, trained by Adam, one request after another."""

    stop_loss: NonNegative = Field(
        default=0.0, description="A request is done once its loss is below this."
    )
    blocks: Count = Field(
        default=4,
        description="Diagonal blocks of the rotation; they must divide the width of the input.",
    )
    ball: Positive = Field(
        default=1e-5,
        description="Size, per entry, of the ball that each block's generator is kept in "
        "(COFT's eps).",
    )

    ONE_BY_ONE: ClassVar[bool] = True


@dataclass(frozen=True)
class Variant:
    """One entry of the `methods:` block: a method and its options."""

    method: str
    options: "EditOptions | WrapperOptions"

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

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string"}


class WrapperOptions(Checked):
    """A method that changes what another one does; the other keys are that one's options."""

    base: Variant = Field(description="The wrapped method, whose options stand beside this key.")

    def __post_init__(self) -> None:
        if not isinstance(self.base.options, AdditiveOptions):
            raise KeyRefused("base", f"{self.base.method} is not a closed-form additive method")

    @property
    def edit(self) -> EditOptions:
        return self.base.options.edit
