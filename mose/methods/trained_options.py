"""Options of trained methods: fine-tuning and the trained rotation. Free of torch, as `options`."""

from typing import ClassVar

from pydantic import Field

from mose.methods.options import IterativeOptions
from mose.validation.refusals import KeyRefused
from mose.validation.strict import Count, NonNegative, Positive


class TrainedOptions(IterativeOptions):
    """Options of methods trained on the new objects, without statistics or value targets."""

    learning_rate: Positive = Field(
        default=5e-4, description="Adam's learning rate, in units of a weight."
    )
    steps: Count = Field(
        default=25,
        description="Most rounds through the requests that are trained together; a round takes one "
        "or more steps of Adam.",
    )

    # Whether a batch is trained together with all requests before it; whether each round has an
    # order of its own; whether the token that ends a text is trained after the object.
    ALL_SO_FAR: ClassVar[bool] = False
    SHUFFLED: ClassVar[bool] = False
    ENDED: ClassVar[bool] = False

    @property
    def per_step(self) -> int | None:
        """Requests per step of Adam; None: all that are trained together."""
        return None


class FineTuneOptions(TrainedOptions):
    """Fine-tuning of the edited projections on the new objects."""

    stop_loss: NonNegative = Field(
        default=0.01, description="A batch stops once its loss is below this."
    )
    norm_constraint: Positive | None = Field(
        default=None,
        description="Bound of every entry's change in one batch. null: none.",
    )
    minibatch: Count = Field(default=10, description="Requests per step of Adam.")

    @property
    def per_step(self) -> int | None:
        return self.minibatch


class LocFTOptions(TrainedOptions):
    """LocFT-BF: one layer, trained on all requests so far. An oracle, no sequential method."""

    stop_loss: NonNegative = Field(
        default=0.01, description="Training ends after a round with a mean loss below this."
    )
    minibatch: Count = Field(default=100, description="Requests per step of Adam.")

    ALL_SO_FAR: ClassVar[bool] = True
    SHUFFLED: ClassVar[bool] = True
    ENDED: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.layers) > 1:
            raise KeyRefused(
                "layers", f"LocFT-BF trains one layer, found {list(self.layers)}; choose one, or ft"
            )

    @property
    def per_step(self) -> int | None:
        return self.minibatch


class TrainedRotationOptions(TrainedOptions):
    """A block-diagonal rotation of the input, trained by Adam, one request after another."""

    stop_loss: NonNegative = Field(
        default=0.0, description="A request stops once its loss is below this."
    )
    blocks: Count = Field(
        default=4,
        description="Diagonal blocks of the rotation; a divisor of the input's width.",
    )
    ball: Positive = Field(
        default=1e-5,
        description="Radius, per entry, of the ball that bounds each block's generator "
        "(COFT's eps).",
    )

    ONE_BY_ONE: ClassVar[bool] = True
