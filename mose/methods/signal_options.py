"""Options of methods that edit by keys and gradients at the answers' tokens. Free of torch."""

from pydantic import Field

from mose.methods.options import EditOptions
from mose.validation.strict import Count, Natural, Positive


class SignalOptions(EditOptions):
    """Options of methods that take one gradient of a batch, and no steps."""

    minibatch: Count = Field(
        default=10,
        description="Requests per backward pass. The loss is the mean over all their answers' "
        "tokens, so this scales the gradients.",
    )


class UltraEditOptions(SignalOptions):
    """UltraEdit."""

    learning_rate: Positive = Field(
        default=1e-6,
        description="eta, length of the wanted change of a value, per squared length of its "
        "normalised key.",
    )
    ridge: Positive = Field(default=1.0, description="Weight of ||Delta||_F^2.")


class StableEditOptions(UltraEditOptions):
    """StableEdit: UltraEdit with whitened gradients."""

    ridge: Positive = Field(default=10.0, description="Weight of ||Delta||_F^2.")
    warm_up: Natural = Field(
        default=20,
        description="First batches that are normalised entry by entry, as UltraEdit's; gradients "
        "are whitened after them, once more places were seen than there are entries.",
    )
