"""What a task is. Free of torch, so that a workflow can be planned without it."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mose.errors import ConfigError

BUILTIN = ("sentiment", "inference", "facts")
FIELD = re.compile(r"\{(\w+)\}")

GENERATED = ("exact_match", "contains", "token_f1", "rouge1", "rouge2", "rougeL", "rouge")
# What retained ability is computed from: the first unless `headline` says otherwise.
HEADLINES = {
    "choice": ("accuracy", "accuracy_norm", "f1"),
    "generate": GENERATED,
    "continuation": ("accuracy",),
    "perplexity": ("perplexity",),
    "harness": (),
}
NEEDS = {
    "choice": ("source", "prompt", "choices", "label"),
    "generate": ("source", "prompt", "answer", "metrics"),
    "continuation": ("source", "prompt", "answer"),
    "perplexity": ("source",),
    "harness": ("harness", "headline"),
}


@dataclass(frozen=True)
class Task:
    """A task, as a YAML file or an experiment's `tasks:` block gives it.

    kind: "choice" (the likeliest of several answers), "generate" (greedy text), "continuation" (is
        one given answer the greedy one), "perplexity" (sliding window over a text), "harness".
    source: {"file": PATH}, {"hub": ID, "subset", "split", "revision"}, or {"builtin": NAME}.
    prompt: text with a record's fields in braces; the answer follows it after a space.
    description: put once in front of everything. examples: records with the same fields, rendered
        before every prompt with their right answers (few-shot).
    choices: texts with fields in braces, or the name of the field that lists them. label: field of
        the right one: its place from 0, or one of `labels`, which are in the choices' order.
    answer: field of the right text, or list of right texts.
    last_word: field whose last word is the answer where a record has no field `answer`; the rest
        becomes its field "context" (continuation: LAMBADA).
    metrics: of generated text, of GENERATED. max_tokens, stop: where generated text ends.
    field: of the text (perplexity, in files of records). window, stride: tokens.
    samples: items at most, drawn by `seed`; the same at every checkpoint.
    harness: {"task": NAME, "folder": DIRECTORY of task files}.
    headline: the metric that retained ability is computed from.
    """

    kind: str
    source: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prompt: str = ""
    description: str = ""
    examples: tuple[Mapping[str, Any], ...] = ()
    choices: tuple[str, ...] | str = ()
    label: str = ""
    labels: tuple[Any, ...] = ()
    answer: str = ""
    last_word: str = ""
    metrics: tuple[str, ...] = ()
    max_tokens: int = 32
    stop: tuple[str, ...] = ()
    field: str = "text"
    window: int = 512
    stride: int = 256
    samples: int = 100
    seed: int = 0
    harness: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headline: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `parse_task` reads it again."""
        return dataclasses.asdict(self)


def parse_task(entry: Mapping[str, Any], where: str) -> Task:
    """The task of an entry; `where` names the config key or file in errors.

    Raises ConfigError for missing keys, keys of another kind, and contradictions.
    """
    known = {f.name for f in dataclasses.fields(Task)}
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
    if entry.get("kind") not in NEEDS:
        raise ConfigError(f"{where}.kind: found {entry.get('kind')!r}, expected {', '.join(NEEDS)}")
    lists: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list | tuple) else v for k, v in entry.items()
    }
    task = Task(**lists)
    for key in NEEDS[task.kind]:
        if not getattr(task, key):
            raise ConfigError(f"{where}: a task of kind {task.kind} needs {key!r}")
    _check_source(task, where)
    wrong = [name for name in task.metrics if name not in GENERATED]
    if wrong:
        raise ConfigError(f"{where}.metrics: found {wrong[0]!r}; known are {', '.join(GENERATED)}")
    if task.stride > task.window - 1:
        raise ConfigError(f"{where}.stride: {task.stride} must be less than window {task.window}")
    headlines = task.metrics if task.kind == "generate" else HEADLINES[task.kind]
    if task.headline and headlines and task.headline not in headlines:
        expected = ", ".join(headlines)
        raise ConfigError(f"{where}.headline: found {task.headline!r}, expected one of {expected}")
    return Task(**{**lists, "headline": task.headline or headlines[0]})


def _check_source(task: Task, where: str) -> None:
    if task.kind == "harness":
        return
    kinds = [key for key in ("file", "hub", "builtin") if key in task.source]
    if len(kinds) != 1:
        raise ConfigError(f"{where}.source: expected one of file, hub, builtin; found {kinds}")
    name = task.source.get("builtin", BUILTIN[0])
    if name not in BUILTIN:
        raise ConfigError(f"{where}.source.builtin: found {name!r}, expected {', '.join(BUILTIN)}")
