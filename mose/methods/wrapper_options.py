"""Options of the wrappers, which change the update of another method. Free of torch."""

import math
from typing import Annotated

from pydantic import Field

from mose.methods.options import WrapperOptions
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
