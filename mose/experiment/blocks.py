"""The blocks of an experiment's configuration: every key, stated once.

docs/config.md and workflow/schemas/ are generated from these (`.reference`). `.model_blocks` has
those of a model's file, `.config` the checks that span blocks. Imports no torch.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from mose.experiment.model_blocks import NUMBER_FORMAT
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

SCAN = Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1)]


class HubFacts(Block):
    """A data set of the Hugging Face hub."""

    hub: Text = Field(description="Id of the data set.")
    revision: Text = Field(
        description="Commit hash or tag. Required, because the content under a name can change."
    )
    subset: str | None = absent("Subset (configuration) of the data set.")
    split: str | None = absent("Split of the data set.")


class DataSet(Block):
    """A data set: the source of its facts, and which of them are edited."""

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
            "conceptedit-inter", "wikibigedit", "ultraeditbench", "qaedit", "easyedit", "knowedit",
            "plain",
        ]
        | None
    ) = absent(
        "Form of the file's records (docs/data.md). By default it is detected from their fields. "
        "Required for ZsRE and ConceptEdit's concept_data, which have two possible targets."
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
        "Names of the file's columns where they differ from the plain form's fields: "
        "{subject: Subj, target_new: answer} (docs/data.md)."
    )  # fmt: skip
    conflicts: Literal["all", "last", "refuse"] = Field(
        default="all",
        description="What to do with records that give one subject and relation different new "
        "objects: keep all, keep only the last, or refuse the later ones.",
    )
    known_only: bool = Field(
        default=False,
        description="Edit only facts whose true object the unedited model generates greedily.",
    )
    neighbours: Natural = Field(
        default=3,
        description="Maximum number of locality prompts, and of questions about instances of a "
        "concept, per request. requests_report.json counts those left out.",
    )
    held_out: Annotated[float, Field(ge=0, lt=1), AS_WRITTEN] = Field(
        default=0.2,
        description="Share of subjects that are never edited. Locality prompts are drawn from them "
        "if the data set has none.",
    )
    part: Literal["all", "tuning", "evaluation"] = Field(
        default="all",
        description="Subjects to edit: tuning (a fifth, the same for every seed; for choosing "
        "settings), evaluation (the others; for comparing methods), or all.",
    )


class TextFile(Block):
    """A local text."""

    file: Text = Field(description="Path of a plain text, or of records with a field `text`.")


class HubText(Block):
    """A text of the Hugging Face hub."""

    hub: Text = Field(description="Id of the data set.")
    subset: str | None = absent("Subset (configuration) of the data set.")
    split: str | None = absent("Split of the data set.")
    field: str | None = absent("Field of a record that holds the text.")
    revision: str | None = absent("Commit hash or tag.")


class Corpus(Block):
    """The text for second moments and perplexity."""

    source: Annotated[
        Annotated[Literal["sampled"], Tag("~string")]
        | Annotated[TextFile, Tag("~file")]
        | Annotated[HubText, Tag("~hub")],
        Discriminator(by_key("file", "hub")),
    ] = Field(
        default="sampled",
        description="sampled (text sampled from the model; no download), {file: PATH}, or "
        "{hub: ID, subset, split, field, revision}.",
    )
    tokens: Count = Field(
        default=100000,
        description="Tokens for the second moments. Advised: at least ten times d_in, the width of "
        "the edited projection's input.",
    )
    heldout: Count = Field(
        default=8192, description="Tokens for the perplexity, held out from the second moments."
    )
    window: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens per window.")
    shards: Count = Field(default=2, description="Number of jobs that share the corpus.")
    include_first: bool = Field(
        default=False,
        description="Count the first token of each window in the second moments.",
    )
    seed: Natural = Field(default=0, description="Seed of sampled text.")


class Templates(Block):
    """Context templates, sampled from the model, for computing value targets and keys."""

    length: Count = Field(default=10, description="Tokens per context.")
    per_starter: Natural = Field(
        default=1,
        description="Contexts per starting word, of which there are five; 0 for the prompt alone.",
    )


class Edits(Block):
    """Number of edits, and sizes of batches and segments."""

    total: Count = Field(
        description="Total number of edits, a multiple of checkpoint. Raising it later runs only "
        "the new segments."
    )
    batch: Count = Field(
        default=10, description="Requests per update; 1 for single sequential editing."
    )
    checkpoint: Count = Field(
        default=100, description="Edits between two checkpoints, a multiple of batch."
    )
    conflicts: Annotated[float, Field(ge=0, le=1), AS_WRITTEN] = Field(
        default=0.0,
        description="Share of the requests that are edited again in the next segment, to another "
        "new object; 0 for none. These further requests count as edits.",
    )
    tasks_every: Count | None = absent(
        "Edits between two evaluations of the tasks, a multiple of checkpoint. Default: every "
        "checkpoint."
    )


class Measure(Block):
    """Optional measurements at every checkpoint."""

    earlier: Natural | None = Field(
        default=None,
        description="Maximum number of requests to score from before the checkpoint's own segment, "
        "drawn so that a later checkpoint's sample differs as little as possible; null for all. "
        "Means count the sample as all earlier requests; means.csv counts those left out. With 0, "
        "means are of the newest segment.",
    )
    generate: Natural = Field(
        default=0,
        description="Number of requests that are also answered by greedy generation, at a cost of "
        "one pass per token. 0 for none.",
    )
    generated_tokens: Count = Field(default=20, description="Maximum tokens per generated answer.")
    fluency: Natural = Field(
        default=0,
        description="Number of requests for which texts are sampled, after their generation "
        "prompts (without any: the edit prompt), to measure fluency, the entropy of their n-grams. "
        "0 for none.",
    )
    fluency_tokens: Count = Field(
        default=100, description="Tokens per sampled text, prompt included."
    )
    prefixed: Natural = Field(
        default=0,
        description="Number of requests whose edit prompt is also asked behind unrelated text, "
        "from the held-out part of the corpus. It costs two passes over that text per request. 0 "
        "for none.",
    )
    prefix_tokens: Count = Field(
        default=100, description="Tokens of that text; at most corpus.heldout."
    )
    consistency: bool = Field(
        default=False,
        description="Also compare these texts with the requests' reference texts, which the data "
        "set must have (docs/data.md).",
    )


class MethodEntry(Block):
    """A method and its options, or settings of the model's file.

    `mose.methods.register.read_variant` checks the options once the settings are merged.
    """

    model_config = ConfigDict(extra="allow")

    settings: Label | None = absent(
        "Name of an entry of `methods:` in the model's file. Other keys here override its keys."
    )
    until: Count | None = absent(
        "Edits at which this method stops, a multiple of edits.checkpoint; edits.total if that is "
        "less. Raising it later runs only the new segments."
    )
    scan: SCAN | None = absent(
        "Options and the values to try. Every combination becomes a variant; the target `scan` "
        "ranks them."
    )


class Experiment(Block):
    """An experiment: a file in config/, passed with --configfile."""

    experiment: Label = Field(
        description="Name of the experiment. Its results are in results/<experiment>/."
    )
    question: Text | None = Field(default=None, description="What it asks, for its report.")
    models: Annotated[list[Text], Field(min_length=1), DISTINCT] = Field(
        description="Models: names of files in config/models/ without .yaml, or their paths."
    )
    datasets: Annotated[dict[Label, DataSet], Field(min_length=1)] = Field(
        description="Data sets, by a label of your choice."
    )
    corpus: Corpus = Corpus()
    templates: Templates = Templates()
    seeds: Annotated[list[Natural], Field(min_length=1), DISTINCT] = Field(
        default=[0],
        description="Random seeds. Each has its own new objects, order of requests and templates.",
    )
    edits: Edits
    tasks: dict[TaskLabel, Any] = Field(
        default_factory=dict,
        description="Downstream tasks, by a label of your choice: the name of a file in "
        "config/tasks/, the path of such a file, or a task. Each is evaluated on the unedited "
        "model and every edits.tasks_every edits.",
    )
    measure: Measure = Measure()
    pilot_edits: Count = Field(
        default=1000,
        description="Number of requests on which the target `target_norms` measures the anchor of "
        "anchored value targets; all requests if there are fewer.",
    )
    methods: Annotated[dict[VariantLabel, MethodEntry], Field(min_length=1)] = Field(
        description="Methods to compare, by a label of your choice: a method and its options."
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
        description="Device of the model: auto (a GPU if there is one), cpu, cuda, cuda:1, ... "
        "Cluster jobs request a GPU only if this names cuda.",
    )
    gpus: Count = Field(
        default=1,
        description="GPUs per job that loads the model, for device: cuda. The blocks are divided "
        "among them (device_map of transformers, which needs the package accelerate; not tested on "
        "such a machine).",
    )
    dtype: NUMBER_FORMAT = Field(
        default="float32",
        description="Number format of the model's passes. Edited matrices are kept in float32 or "
        "float64.",
    )
    solve_on: Literal["model", "host"] = Field(
        default="model",
        description="Where updates are solved, in float64: model, on the GPU that holds the layer, "
        "if there is one; host, when the GPU's memory is short.",
    )
    threads: Count = Field(
        default=1,
        description="CPU threads per job. One is best if several jobs run side by side on few "
        "cores.",
    )
