"""Options of additive methods that were made for long sequences. Free of torch."""

from pydantic import Field

from mose.methods.options import AdditiveOptions, NullSpaceOptions, RetentionOptions
from mose.validation.strict import Count, NonNegative, Positive


class BetaEditOptions(NullSpaceOptions, RetentionOptions):
    """BetaEdit: AlphaEdit with the second moment in the objective, and a null space that follows
    the edits."""

    ridge: Positive = Field(
        default=10.0, description="Weight of ||Delta||_F^2 (the authors' lambda2)."
    )
    refresh: Count = Field(
        default=1000,
        description="The null space is determined again before a batch once this many edits were "
        "written since the last time.",
    )


class EvoEditOptions(NullSpaceOptions):
    """EvoEdit: a null space that loses the directions of every batch's keys."""

    ridge: Positive = Field(default=1.0, description="Weight of ||Delta||_F^2.")
    tolerance: NonNegative = Field(
        default=1e-6,
        description="Left singular vectors of a batch's projected keys leave the null space if "
        "their singular value is above this share of the largest singular value of the keys.",
    )


class LyapLockOptions(AdditiveOptions, RetentionOptions):
    """LyapLock: the weight of old knowledge grows while too much of it is lost."""

    allowance: Positive = Field(
        default=60.0,
        description="Loss of old knowledge above which its weight grows, over the loss after the "
        "first batch (the authors' alpha).",
    )
