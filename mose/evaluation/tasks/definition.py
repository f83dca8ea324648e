"""The keys of a task, with their checks. Free of torch, so that planning needs none."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag
from typing_extensions import TypedDict

from mose.errors import ConfigError
from mose.validation.refusals import KeyRefused, one_of, unknown_key
from mose.validation.strict import (
    DISTINCT,
    LISTED,
    STRICT,
    Checked,
    Count,
    Like,
    Natural,
    Text,
    by_key,
)

FIELD = re.compile(r"\{(\w+)\}")

Kind = Literal["choice", "generate", "continuation", "perplexity", "harness"]
TextMetric = Literal["exact_match", "contains", "token_f1", "rouge1", "rouge2", "rougeL", "rouge"]
# Metrics that retained ability can be computed from; the first is the default of `headline`.
# Generated text has the task's own metrics, a task of the harness any that it computes.
HEADLINES = {
    "choice": ("accuracy", "accuracy_norm", "f1"),
    "continuation": ("accuracy",),
    "perplexity": ("perplexity",),
}
NEEDS = {
    "choice": ("source", "prompt", "choices", "label"),
    "generate": ("source", "prompt", "answer", "metrics"),
    "continuation": ("source", "prompt", "answer"),
    "perplexity": ("source",),
    "harness": ("harness", "headline"),
}


class TaskSource(TypedDict, total=False):
    """Source of a task's records: exactly one of file, hub and builtin."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    file: Annotated[
        Text, Field(description="JSON, JSON lines, CSV, TSV or Parquet; plain text for perplexity.")
    ]
    hub: Annotated[Text, Field(description="Id of a data set of the Hugging Face hub.")]
    subset: Annotated[str, Field(description="Subset (configuration) of the hub's data set.")]
    split: Annotated[str, Field(description="Split of the hub's data set.")]
    revision: Annotated[
        str, Field(description="Commit hash or tag; without it, the hub's present version.")
    ]
    builtin: Annotated[
        Literal["sentiment", "inference", "facts"],
        Field(description="A data set of the package."),
    ]
    part: Annotated[
        Literal["tuning", "evaluation"],
        Field(description="builtin: facts: the part whose subjects are asked about."),
    ]


class Harness(TypedDict, total=False):
    """A task of lm-evaluation-harness."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    task: Annotated[Text, Field(description="Name of the task. Required.")]
    folder: Annotated[Text, Field(description="Directory of the task's YAML files.")]


class Task(Checked):
    """A task, from a YAML file or an experiment's `tasks:` block."""

    kind: Kind = Field(
        description="choice: the likeliest of several answers; generate: greedy text; "
        "continuation: whether the right answer is the greedy one; perplexity: of a text, by "
        "sliding windows; harness: a task of lm-evaluation-harness."
    )
    source: Annotated[Mapping[str, str], Like(TaskSource)] = Field(
        default_factory=dict,
        description="{file: PATH}, {hub: ID, subset, split, revision}, or {builtin: NAME}.",
    )
    prompt: str = Field(
        default="",
        description="Text with a record's fields in braces; the answer follows after a space.",
    )
    description: str = Field(default="", description="Text before examples and prompt.")
    examples: Annotated[tuple[dict[str, Any], ...], LISTED] = Field(
        default=(),
        description="Records shown before every prompt with their right answers (few-shot).",
    )
    choices: Annotated[
        Annotated[tuple[Text, ...], LISTED, Tag("~array")] | Annotated[Text, Tag("~string")],
        Discriminator(by_key()),
    ] = Field(
        default=(),
        description="choice: the possible answers, with fields in braces, or the name of the field "
        "that lists them.",
    )
    label: str = Field(
        default="",
        description="choice: field of the right choice: its index from 0, or one of labels.",
    )
    labels: Annotated[tuple[Any, ...], LISTED] = Field(
        default=(), description="choice: values of the label's field, in the order of the choices."
    )
    answer: str = Field(
        default="",
        description="generate, continuation: field of the right text or list of right texts.",
    )
    last_word: str = Field(
        default="",
        description="continuation: field to split where a record has no answer: its last word is "
        "the answer, the rest the field context (LAMBADA).",
    )
    metrics: Annotated[tuple[TextMetric, ...], LISTED, DISTINCT] = Field(
        default=(), description="generate: metrics of the text."
    )
    max_tokens: Count = Field(default=32, description="generate: most tokens of an answer.")
    stop: Annotated[tuple[Text, ...], LISTED] = Field(
        default=(),
        description="generate: texts that end the answer, leading whitespace removed.",
    )
    field: str = Field(
        default="text", description="perplexity: field of the text, in a file of records."
    )
    window: Annotated[int, Field(ge=2)] = Field(
        default=512, description="perplexity: tokens per window."
    )
    stride: Count = Field(
        default=256,
        description="perplexity: tokens from one window to the next; less than window.",
    )
    samples: Count = Field(
        default=100,
        description="Most items (perplexity: windows); the same at every checkpoint.",
    )
    seed: Natural = Field(default=0, description="Seed of the draw of items.")
    harness: Annotated[Mapping[str, str], Like(Harness)] = Field(
        default_factory=dict,
        description="{task: NAME, folder: DIRECTORY of its YAML files}.",
    )
    headline: str = Field(
        default="",
        description="Metric that retained ability is computed from; default: the kind's first.",
    )

    def __post_init__(self) -> None:
        for key in NEEDS[self.kind]:
            if not getattr(self, key):
                raise KeyRefused("", f"a task of kind {self.kind} needs {key!r}")
        self._check_source()
        for key, values in (("choices", self.choices), ("labels", self.labels)):
            if isinstance(values, tuple) and len(values) == 1:
                raise KeyRefused(key, f"found one ({values[0]!r}), expected at least two")
        if self.stride > self.window - 1:
            raise KeyRefused("stride", f"{self.stride} must be less than window {self.window}")
        headlines = self.metrics if self.kind == "generate" else HEADLINES.get(self.kind, ())
        if self.headline and headlines and self.headline not in headlines:
            raise KeyRefused("headline", one_of(self.headline, headlines))
        object.__setattr__(self, "headline", self.headline or headlines[0])

    def _check_source(self) -> None:
        if self.kind == "harness":
            if "task" not in self.harness:
                raise KeyRefused("harness", "missing key 'task', expected the task's name")
            return
        given = [key for key in ("file", "hub", "builtin") if key in self.source]
        if len(given) != 1:
            present = ", ".join(given) or "none of them"
            raise KeyRefused("source", f"found {present}, expected one of file, hub, builtin")

    def as_dict(self) -> dict[str, Any]:
        """As a dict for JSON, which `parse_task` reads."""
        return dataclasses.asdict(self)


TASK_KEYS = tuple(f.name for f in dataclasses.fields(Task))


def parse_task(entry: Mapping[str, Any], where: str) -> Task:
    """The task of an entry; `where` names the config key or file in errors.

    Raises ConfigError for unknown or missing keys, wrong types and contradictions.
    """
    for key in entry:
        if key not in TASK_KEYS:
            raise ConfigError(f"{where}: {unknown_key(key, TASK_KEYS)}")
    try:
        return Task(**entry)
    except KeyRefused as error:
        raise error.within(where) from None
