"""Options of the wrappers, which change the update of another method. Free of torch."""

import math
from typing import Annotated

from pydantic import Field

from mose.methods.options import WrapperOptions
from mose.validation.refusals import KeyRefused
from mose.validation.strict import AS_WRITTEN


class RectOptions(WrapperOptions):
    """RECT."""

    kept_share: Annotated[float, Field(gt=0, le=1), AS_WRITTEN] = Field(
        default=0.4, description="Share of the update's entries that are kept."
    )


class PruneOptions(WrapperOptions):
    """PRUNE."""

    log_base: Annotated[float, Field(gt=1), AS_WRITTEN] = Field(
        default=math.e,
        description="Base of the logarithm that reduces large singular values.",
    )


class SphereOptions(WrapperOptions):
    """SPHERE."""

    strength: Annotated[float, Field(ge=0, le=1), AS_WRITTEN] = Field(
        default=0.8,
        description="alpha, share of the update along the weight's main directions that is "
        "removed.",
    )
    energy: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN] = Field(
        default=0.5,
        description="eta, share of the weight's energy that defines the main directions.",
    )


class IsospectralOptions(WrapperOptions):
    """An additive method on the unedited spectrum."""


class ReviveOptions(WrapperOptions):
    """REVIVE."""

    energy: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN] = Field(
        default=0.5,
        description="Share of the unedited weight's squared singular values that the protected "
        "directions hold.",
    )


class AlignedRectOptions(RectOptions):
    """RECT that carries along what it took away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _needs_memory(self)


class AlignedPruneOptions(PruneOptions):
    """PRUNE of every batch, which carries along what it took away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _needs_memory(self)


ALIGNED = (AlignedRectOptions, AlignedPruneOptions)


def _needs_memory(options: WrapperOptions) -> None:
    """Raise KeyRefused unless the base keeps earlier keys."""
    found = getattr(options.base.options, "memory", None)
    if found is None:
        raise KeyRefused(
            "base",
            f"found {options.base.method}; what was taken away is carried in the memory of earlier "
            "keys, by memit, encore or alphaedit; take one of these",
        )
    if found != "keys":
        raise KeyRefused(
            "memory",
            f"found {found}, and what was taken away is carried in the memory; set memory: keys",
        )
