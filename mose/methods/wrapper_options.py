"""The options of methods that change what another method writes. Free of torch."""

import math
from typing import Annotated

from pydantic import Field

from mose.methods.options import WrapperOptions
from mose.validation.strict import AS_WRITTEN


class RectOptions(WrapperOptions):
    """RECT."""

    kept_share: Annotated[float, Field(gt=0, le=1), AS_WRITTEN] = Field(
        default=0.4, description="Share of the update's entries that is kept."
    )


class PruneOptions(WrapperOptions):
    """PRUNE."""

    log_base: Annotated[float, Field(gt=1), AS_WRITTEN] = Field(
        default=math.e,
        description="Base of the logarithm that large singular values are reduced by.",
    )


class SphereOptions(WrapperOptions):
    """SPHERE."""

    strength: Annotated[float, Field(ge=0, le=1), AS_WRITTEN] = Field(
        default=0.8,
        description="alpha, how much of the update along the weight's main directions is taken "
        "out.",
    )
    energy: Annotated[float, Field(gt=0, lt=1), AS_WRITTEN] = Field(
        default=0.5, description="eta, share of the directions' energy that makes them main."
    )
