"""The blocks of a model's file: every key, stated once. Imports no torch."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mose.validation.strict import Block, Count, Label, Text, absent, by_key, pattern

NUMBER_FORMAT = Literal["float32", "bfloat16", "float16"]
HUB_NAME = pattern("[A-Za-z0-9][A-Za-z0-9._/-]*", "a name of the hub, such as openai/gpt2")
SHA256 = pattern("[0-9a-f]{64}", "64 hexadecimal digits")
TERMS = absent(
    "Licence or terms of the model, in a line that is shown once, when the model is fetched."
)


class WheelFile(Block):
    """A file inside a wheel of the package index, pinned by the wheel's digest."""

    package: Annotated[str, pattern("[A-Za-z0-9][A-Za-z0-9._-]*", "a package's name")] = Field(
        description="Name of the package. It is downloaded, never installed or imported."
    )
    version: Annotated[str, pattern("[A-Za-z0-9][A-Za-z0-9.!+_-]*", "a package's version")] = Field(
        description="Version of the package."
    )
    sha256: Annotated[str, SHA256] = Field(description="SHA-256 of the wheel.")
    file: Text = Field(description="Path of the file inside the wheel.")


class PackagedModel(WheelFile):
    """A GGUF file inside a wheel of the package index."""

    file: Annotated[str, pattern("(?s:.*)[.]gguf", "the path of a .gguf file")] = Field(
        description="Path of the .gguf file inside the wheel."
    )
    terms: Text | None = TERMS


class JoinedModel(Block):
    """A GGUF file that is divided among wheels of the package index."""

    parts: Annotated[list[WheelFile], Field(min_length=2)] = Field(
        description="The parts of a .gguf file, each {package, version, sha256, file}, in order."
    )
    sha256: Annotated[str, SHA256] = Field(description="SHA-256 of the joined file.")
    terms: Text | None = TERMS


class LocalModel(Block):
    """A model on this machine."""

    local: Text = Field(description="Directory with safetensors and tokenizer, or a .gguf file.")


class HubModel(Block):
    """A model of the Hugging Face hub."""

    hub: Annotated[str, HUB_NAME] = Field(description="Id of the model.")
    revision: Annotated[str, HUB_NAME] | None = absent("Commit hash or tag.")


class ShapeBlock(Block):
    """Sizes of the model, for planning (`mose.experiment.resources.Shape`)."""

    parameters: Count = Field(description="Total number of parameters.")
    blocks: Count = Field(description="Number of transformer blocks.")
    width: Count = Field(description="Width of the residual stream, d_out.")
    mlp_width: Count = Field(description="Width of the edited projection's input, d_in.")
    vocabulary: Count = Field(description="Rows of the output head.")
    dtype: NUMBER_FORMAT = Field(default="float32", description="Number format of the files.")


MODULE_NAME = pattern(
    "[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*", "a name of model.named_modules(), as model.layers"
)


class ArchitectureBlock(Block):
    """Where a model's class keeps the edited projections, as names of `model.named_modules()`."""

    blocks: Annotated[str, MODULE_NAME] = Field(description="The list of blocks: model.layers.")
    projection: Annotated[str, MODULE_NAME] = Field(
        description="The MLP's output projection within a block: mlp.down_proj."
    )
    norm: Annotated[str, MODULE_NAME] = Field(description="The norm before the head: model.norm.")
    transposed: bool = Field(
        default=False,
        description="Whether the projection stores its weight as (d_in, d_out), as GPT-2's Conv1D.",
    )
    post_norm: Annotated[str, MODULE_NAME] | None = absent(
        "Within a block, the RMS norm between the projection and the residual stream, where the "
        "class has one: post_feedforward_layernorm."
    )


class ModelFile(Block):
    """A model: a file in config/models/."""

    source: Annotated[
        Annotated[PackagedModel, Tag("~package")]
        | Annotated[JoinedModel, Tag("~parts")]
        | Annotated[LocalModel, Tag("~local")]
        | Annotated[HubModel, Tag("~hub")],
        Discriminator(by_key("package", "parts", "local", "hub")),
    ] = Field(description="Source of the model, one of four forms.")
    architecture: ArchitectureBlock | None = absent(
        "Where the model's class keeps the edited projections; required for classes that "
        "mose/models/architectures.py does not list."
    )
    shape: ShapeBlock | None = absent(
        "Sizes of the model, to plan a run before the model is downloaded. They are compared with "
        "the model once it is."
    )
    methods: dict[Label, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of methods for this model, by name. An experiment selects one with "
        "`settings: NAME`.",
    )
