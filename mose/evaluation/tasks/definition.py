"""What a task is. Free of torch, so that a workflow can be planned without it."""

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
# What retained ability is computed from: the first unless `headline` says otherwise; for generated
# text, of the task's own metrics, and for a task of the harness whatever `headline` says.
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
    """Where a task's records come from: exactly one of file, hub and builtin."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    file: Annotated[
        Text, Field(description="JSON, JSON lines, CSV, TSV or Parquet; plain text for perplexity.")
    ]
    hub: Annotated[Text, Field(description="Id of a data set of the Hugging Face hub.")]
    subset: Annotated[str, Field(description="Subset (configuration) of the hub's data set.")]
    split: Annotated[str, Field(description="Split of the hub's data set.")]
    revision: Annotated[
        str, Field(description="A commit's hash or a tag; without it, what the hub holds today.")
    ]
    builtin: Annotated[
        Literal["sentiment", "inference", "facts"],
        Field(description="A set that comes with the package."),
    ]
    part: Annotated[
        Literal["tuning", "evaluation"],
        Field(description="Of the built-in facts: whose subjects are asked for."),
    ]


class Harness(TypedDict, total=False):
    """A task of lm-evaluation-harness."""

    __pydantic_config__ = STRICT  # type: ignore[misc]

    task: Annotated[Text, Field(description="Name of the task. Required.")]
    folder: Annotated[Text, Field(description="Directory of the task's YAML files.")]


class Task(Checked):
    """A task, as a YAML file or an experiment's `tasks:` block gives it."""

    kind: Kind = Field(
        description="choice: the likeliest of several answers; generate: greedy text; "
        "continuation: is the given answer the greedy one; perplexity: of a text, by sliding "
        "window; harness: of lm-evaluation-harness."
    )
    source: Annotated[Mapping[str, str], Like(TaskSource)] = Field(
        default_factory=dict,
        description="{file: PATH}, {hub: ID, subset, split, revision}, or {builtin: NAME}.",
    )
    prompt: str = Field(
        default="",
        description="Text with a record's fields in braces; the answer follows it after a space.",
    )
    description: str = Field(
        default="", description="Text that stands once in front of examples and prompt."
    )
    examples: Annotated[tuple[dict[str, Any], ...], LISTED] = Field(
        default=(),
        description="Records that stand before every prompt with their right answers (few-shot).",
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
        description="choice: field of the right choice, its place from 0 or one of labels.",
    )
    labels: Annotated[tuple[Any, ...], LISTED] = Field(
        default=(), description="choice: what the label's field holds, in the order of the choices."
    )
    answer: str = Field(
        default="",
        description="generate, continuation: field of the right text, or list of right texts.",
    )
    last_word: str = Field(
        default="",
        description="continuation: field that is split into the field context and its last word, "
        "the answer, where a record has no answer (LAMBADA).",
    )
    metrics: Annotated[tuple[TextMetric, ...], LISTED, DISTINCT] = Field(
        default=(), description="generate: what the text is scored by."
    )
    max_tokens: Count = Field(default=32, description="generate: tokens, at most.")
    stop: Annotated[tuple[Text, ...], LISTED] = Field(
        default=(), description="generate: texts that end the answer, after its leading whitespace."
    )
    field: str = Field(
        default="text", description="perplexity: field of the text in a file of records."
    )
    window: Annotated[int, Field(ge=2)] = Field(
        default=512, description="perplexity: tokens of a window."
    )
    stride: Count = Field(
        default=256,
        description="perplexity: tokens from one window to the next; fewer than window.",
    )
    samples: Count = Field(
        default=100,
        description="Items (windows, for perplexity) at most; the same at every checkpoint.",
    )
    seed: Natural = Field(default=0, description="Draws the items.")
    harness: Annotated[Mapping[str, str], Like(Harness)] = Field(
        default_factory=dict,
        description="{task: NAME, folder: DIRECTORY of its YAML files}.",
    )
    headline: str = Field(
        default="",
        description="The metric that retained ability is computed from; the kind's first where it "
        "is not given.",
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
            source_keys = ", ".join(given) or "none of them"
            raise KeyRefused("source", f"found {source_keys}, expected one of file, hub, builtin")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `parse_task` reads it again."""
        return dataclasses.asdict(self)


TASK_KEYS = tuple(f.name for f in dataclasses.fields(Task))


def parse_task(entry: Mapping[str, Any], where: str) -> Task:
    """The task of an entry; `where` names the config key or file in errors.

    Raises ConfigError for missing keys, keys of another kind, and contradictions.
    """
    for key in entry:
        if key not in TASK_KEYS:
            raise ConfigError(f"{where}: {unknown_key(key, TASK_KEYS)}")
    try:
        return Task(**entry)
    except KeyRefused as error:
        raise error.within(where) from None
