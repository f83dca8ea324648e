"""Options of the in-context row, whose requests are asked behind their fact. Free of torch."""

from typing import Annotated

from pydantic import Field

from mose.methods.options import EditOptions
from mose.validation.refusals import WORDS
from mose.validation.strict import ASCENDING, LISTED, Natural, Rule

ONE_PLACE = "a text with exactly one {}"


class InContextOptions(EditOptions):
    """The fact in the prompt, the weights unedited: a row to compare with, and no edit."""

    layers: Annotated[tuple[Natural, ...], LISTED, Field(min_length=1), ASCENDING] = Field(
        description="Blocks whose stability is measured, counted from 0, ascending. None is edited."
    )
    statement: Annotated[
        str, Rule(lambda text: text.count("{}") == 1, ONE_PLACE, {WORDS: ONE_PLACE})
    ] = Field(
        default="New Fact: {}\nPrompt: ",
        description="What stands before every prompt of a request; {} is the edit prompt with the "
        "new object.",
    )
