"""Options of MOSE, the rotations. Free of torch, as `options`."""

from typing import Annotated, Literal

from pydantic import Field

from mose.methods.options import LeastSquaresOptions, RetentionOptions
from mose.validation.refusals import KeyRefused
from mose.validation.strict import AS_WRITTEN


class MoseOptions(RetentionOptions, LeastSquaresOptions):
    """MOSE: W <- R W as published, or one of the forms proposed here."""

    side: Literal["output", "input", "both"] = Field(
        default="output",
        description="output: W <- R W, as published; input: W <- W Q; both: W <- R W Q.",
    )
    targets: Literal["free", "reachable"] = Field(
        default="free",
        description="free, as published; reachable: on the sphere that a rotation can reach; one "
        "layer only.",
    )
    memory: Literal["none", "accumulate"] = Field(
        default="none",
        description="none, as published: a product of one rotation per batch; accumulate: one "
        "rotation for all edits so far.",
    )
    solver: Literal["weighted", "nearest"] = Field(
        default="weighted",
        description="Of side: both. weighted: a minimum of the objective over the rotations; "
        "nearest: the point with the unedited spectrum nearest to the additive solution, cheaper "
        "for wide matrices.",
    )
    protect: Annotated[float, Field(ge=0, lt=1), AS_WRITTEN] = Field(
        default=0.0,
        description="Of side: both. Share of the unedited weight's squared singular values whose "
        "leading directions, on both sides, no rotation touches; 0: none.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side == "input" and self.targets == "free":
            raise KeyRefused(
                "side",
                "input needs targets: reachable; a rotated key keeps its length, "
                "so a free key is never reached, and no one has published that form",
            )
        if self.side == "both" and self.targets == "reachable":
            raise KeyRefused(
                "targets",
                "found reachable, but side: both reaches free targets; take it out, or set free",
            )
        if self.side != "both" and self.solver != "weighted":
            raise KeyRefused(
                "solver",
                f"found {self.solver}, but side: {self.side} has one solver, which is exact; "
                "take it out, or set side: both",
            )
        if self.side != "both" and self.protect:
            raise KeyRefused(
                "protect",
                f"found {self.protect}, but side: {self.side} moves all singular directions of "
                "its side; take it out, or set side: both",
            )
        if self.targets == "reachable" and self.needs_unedited:
            raise KeyRefused(
                "replay" if self.replay else "targets_from",
                "needs wanted outputs, and targets: reachable has rotations instead; "
                "take it out, or set targets: free",
            )
        if self.targets == "reachable" and self.contexts == "each":
            raise KeyRefused(
                "contexts",
                "each needs free targets, since the values of several contexts share no sphere; "
                "take it out, or set targets: free",
            )
        if self.targets == "reachable" and self.spread != "each":
            self._needs_one_layer(
                f"several layers share no sphere; targets: reachable with spread: {self.spread}"
            )

    @property
    def target_space(self) -> str:
        if self.targets == "free":
            return "free"
        return "value" if self.side == "output" else "key"
