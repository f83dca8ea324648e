"""The front door of the library: `mose.Editor` edits facts in a model, and takes the edits back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, overload

import pandas as pd
import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mose.editing import sequence
from mose.editing.session import Materials, Session, read_saved
from mose.errors import ConfigError, RequestError, StoreError
from mose.evaluation import prompt_scores, stability
from mose.experiment.model_files import NamedModel, find_model
from mose.experiment.settings import Settings, choose
from mose.facts.given import requests_of
from mose.facts.requests import EditRequest, check_templates
from mose.methods.options import TargetOptions, Variant
from mose.models.architectures import Architecture
from mose.models.causal_lm import CausalLM
from mose.models.opening import check_dtype, open_source, wrap
from mose.report.prompt_metrics import score_metrics
from mose.statistics import cached, second_moments
from mose.statistics.templates import context_templates
from mose.storage import hdf5
from mose.validation.strict import LISTED, Checked, Count, Natural, Text

logger = logging.getLogger(__name__)

# Context templates as the workflow's default: five, of ten tokens.
TEMPLATE_TOKENS, TEMPLATES_PER_STARTER = 10, 1


class Arguments(Checked):
    """What an editor takes beside the model, the method and its options."""

    batch: Count = Field(default=10, description="Requests per update; 1: one by one.")
    seed: Natural = Field(default=0, description="Seed of sampled text and templates.")
    templates: Annotated[tuple[Text, ...] | None, LISTED] = Field(
        default=None, description="Context templates with one {} each; null: sampled."
    )
    corpus: Text = Field(default="sampled", description="sampled, or the path of a text.")
    tokens: Count | None = Field(default=None, description="Tokens of the corpus.")
    window: Annotated[int, Field(ge=2)] = Field(default=128, description="Tokens per window.")
    moments: Text | None = Field(default=None, description="A moments.h5 of the workflow.")

    def check(self) -> None:
        """Raise RequestError or StoreError for templates or files that cannot be used."""
        if self.templates is not None:
            check_templates(self.templates)
        self.options.check_source()
        if self.moments is not None:
            hdf5.read(self.moments, "moments", [])

    @property
    def options(self) -> cached.CorpusOptions:
        """Those of the corpus."""
        return cached.CorpusOptions(
            source=self.corpus, tokens=self.tokens, window=self.window, seed=self.seed
        )

    def materials(self, lm: CausalLM, variant: Variant) -> Materials:
        """Templates and second moments, of the unedited model."""
        if not isinstance(variant.edit, TargetOptions):  # trained methods need neither
            return Materials(["{}"], {}, "")
        templates = self.templates
        if templates is None:
            generator = torch.Generator().manual_seed(self.seed)
            sampled = context_templates(lm, generator, TEMPLATE_TOKENS, TEMPLATES_PER_STARTER)
            templates = tuple(sampled)
        layers = variant.edit.layers
        if not sequence.uses_corpus(variant):
            return Materials(templates, {}, "")
        if self.moments is not None:
            by_layer = second_moments.load(self.moments, layers, lm.fingerprint)
            digest = hdf5.read(self.moments, "moments", []).digest
            return Materials(templates, by_layer, digest)
        made = cached.second_moments_of(lm, layers, self.options)
        return Materials(templates, made.by_layer, made.digest)


@dataclass(frozen=True)
class Origin:
    """Where an editor's model comes from.

    name: as given, or the model's own. revision: of the hub. directory: of its files, if known.
    """

    name: str
    revision: str | None = None
    directory: Path | None = None


class Editor:
    """Edits facts in a language model.

    >>> editor = mose.Editor.from_pretrained("smollm2-135m")
    >>> editor.edit([{"subject": "France", "prompt": "The capital of {} is", "target_new": "Rome"}])
    >>> editor.ask("The capital of France is")
    >>> editor.undo()

    The model's weights change in place. docs/library.md has everything in order of need.
    """

    session: Session
    settings: str
    origin: Origin
    arguments: Arguments

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        method: str = "mose",
        *,
        architecture: Architecture | None = None,
        **options: Any,
    ) -> None:
        """An editor of a loaded model of transformers, which is set to evaluation mode.

        method, options: as in `from_pretrained`. architecture: names of the modules, for a class
        that `mose.models.architectures` does not list.
        Raises ConfigError, ModelError or RequestError for wrong arguments.
        """
        arguments, rest = _split(options)
        settings = choose(method, rest)
        lm = wrap(model, tokenizer, architecture)
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        self._start(lm, settings, arguments, Origin(name))

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        method: str = "mose",
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str | None = None,
        **options: Any,
    ) -> Editor:
        """An editor of the model called `name`.

        name: a directory or .gguf file, a file of config/models/ or its name, a hub id.
        method: mose (the form that is advised), mose-published (the paper's), a method
        (`mose methods`), or an entry of the model's file.
        revision: of a hub model. device: auto, cpu, cuda, cuda:1, ... dtype: number format of the
        passes, by default that of the files.
        options: arguments of the class Arguments (batch, seed, templates, corpus, tokens, window,
        moments); all others are options of the method (docs/config.md), `lambda` spelled
        retention_weight.
        Raises ConfigError, ModelError, RequestError or StoreError for wrong arguments, before
        anything is loaded.
        """
        arguments, rest = _split(options)
        check_dtype(dtype)
        named = find_model(name, revision)
        settings = choose(method, rest, named.settings, named.file)
        return cls._open(named, settings, arguments, device, dtype)

    @classmethod
    def resume(
        cls,
        path: str | Path,
        model: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        device: str = "auto",
    ) -> Editor:
        """The editor that `save` stored, with its edits in the model.

        model, tokenizer: the unedited model; by default the one that it was opened from.
        Raises StoreError for a file of another model, or a model that has no name to open.
        """
        saved = read_saved(path)
        variant = json.loads(saved.identity["variant"])
        settings = Settings(variant, f"as in {path}", {})
        arguments = Arguments(**saved.editor["arguments"])
        if model is not None and tokenizer is not None:
            editor = cls.__new__(cls)
            origin = Origin(saved.editor["name"], saved.editor["revision"])
            editor._start(wrap(model, tokenizer), settings, arguments, origin)
        elif not saved.editor["opened"]:
            raise StoreError(
                f"{path}: its editor was made of a loaded model; give model and tokenizer as well"
            )
        else:
            named = find_model(saved.editor["name"], saved.editor["revision"])
            editor = cls._open(named, settings, arguments, device, saved.editor["dtype"])
        editor.session.restore(saved)
        return editor

    @classmethod
    def _open(
        cls,
        named: NamedModel,
        settings: Settings,
        arguments: Arguments,
        device: str,
        dtype: str | None,
    ) -> Editor:
        lm, directory = open_source(named.source, named.label, named.architecture, device, dtype)
        editor = cls.__new__(cls)
        origin = Origin(named.name, named.source.get("revision"), directory)
        editor._start(lm, settings, arguments, origin)
        return editor

    def _start(
        self, lm: CausalLM, settings: Settings, arguments: Arguments, origin: Origin
    ) -> None:
        sizes = lm.n_layers, lm.model.num_parameters()
        variant = settings.variant(*sizes)
        self.settings = settings.says(*sizes)
        self.origin, self.arguments = origin, arguments
        self.session = Session(lm, variant, arguments.materials, arguments.batch, arguments.seed)
        log = logger.warning if settings.others else logger.info
        log("%s", self.settings)

    @property
    def model(self) -> PreTrainedModel:
        """The model of transformers, with the edits so far."""
        return self.session.lm.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.session.lm.tokenizer

    def edit(
        self, facts: Any, form: str | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        """Write facts into the model, in batches of `batch`.

        facts: a record with subject, prompt (with {} for the subject) and target_new, or a list of
        them; a data frame with these columns; the path of a file in any form of docs/data.md.
        form: of the records, where their fields do not tell. columns: {our field: their column}.
        Ctrl-C leaves the model as after the last whole batch.
        Raises RequestError for facts that cannot be used, before any is written.
        """
        taken = [request.id for request in self.session.requests]
        self.session.edit(requests_of(facts, taken, form, columns))

    @overload
    def ask(self, prompt: str, tokens: int = 10) -> str: ...
    @overload
    def ask(self, prompt: list[str], tokens: int = 10) -> list[str]: ...
    def ask(self, prompt: str | list[str], tokens: int = 10) -> str | list[str]:
        """The model's greedy continuation of a prompt, or of each of a list, without the prompt.

        tokens: most tokens of an answer.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts or not all(isinstance(one, str) and one.strip() for one in prompts):
            raise RequestError("prompt: found nothing to continue; give a text or a list of texts")
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
            raise ConfigError(f"tokens: found {tokens!r}, expected 1 or more")
        answers = [
            text.strip() for text in prompt_scores.generate(self.session.lm, prompts, tokens)
        ]
        return answers[0] if isinstance(prompt, str) else answers

    @property
    def edits(self) -> pd.DataFrame:
        """One row per edit, in order: request, subject, prompt, target_new, loss (the last, nats),
        attained (1: fully written), seconds, still_there (whether the model now predicts the whole
        new object)."""
        requests = self.session.requests
        pairs = [(request.text, request.target_new) for request in requests]
        scores = prompt_scores.score_targets(self.session.lm, pairs)
        rows = [
            (
                *(request.id, request.subject, request.prompt, request.target_new),
                *(done.loss, done.attained, done.seconds, score.right == score.tokens),
            )
            for request, done, score in zip(
                requests, self.session.state.diagnoses, scores, strict=True
            )
        ]
        columns = ["request", "subject", "prompt", "target_new"]
        return pd.DataFrame(rows, columns=[*columns, "loss", "attained", "seconds", "still_there"])

    def undo(self) -> None:
        """Take all edits back: the model's weights are the unedited ones, bit for bit."""
        self.session.undo()

    def evaluate(self, facts: Any = None, each: bool = False, **reading: Any) -> pd.DataFrame:
        """Metrics of facts (docs/methods.md), by default of those edited.

        facts, reading (form, columns): as in `edit`; target_true, paraphrases, locality and
        portability are measured where a fact has them.
        Returns a row per metric: its mean over prompts, then over facts, and the number of facts.
        each: instead a row per prompt and metric.
        """
        requests: list[EditRequest] = self.session.requests
        if facts is not None:
            requests = requests_of(facts, **reading)
        if not requests:
            raise RequestError("facts: nothing is edited yet; give the facts to evaluate, or edit")
        places = range(len(requests))
        lm = self.session.lm
        columns = prompt_scores.COLUMNS
        edited = prompt_scores.score_requests(lm, requests, places)
        with self.session.unedited():
            unedited = prompt_scores.score_requests(lm, requests, places)
        frames = [pd.DataFrame(rows, columns=columns) for rows in (edited, unedited)]
        metrics = score_metrics(*frames)
        if each:
            return metrics
        by_fact = metrics.groupby(["metric", "order"], sort=False)["value"].mean()
        table = by_fact.groupby("metric", sort=False).agg(["mean", "size"])
        return table.rename(columns={"mean": "value", "size": "facts"}).reset_index()

    def stability(self) -> pd.DataFrame:
        """What the edits did to the edited matrices: a row per layer (norms, spectrum, change)."""
        session = self.session
        rows = stability.measure_state(session.state, session.base, self.model.dtype)
        return pd.DataFrame(rows, columns=stability.COLUMNS)

    def save(self, path: str | Path) -> str:
        """Store the edits, so that `resume` continues from them; returns the file's digest."""
        editor = {
            "name": _absolute(self.origin.name),
            "revision": self.origin.revision,
            "opened": self.origin.directory is not None,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "arguments": asdict(self.arguments),
        }
        return self.session.save(path, editor)


def _split(options: Mapping[str, Any]) -> tuple[Arguments, dict[str, Any]]:
    """An editor's own arguments, checked, and the options of its method."""
    own = {field.name for field in fields(Arguments)}
    given = {name: value for name, value in options.items() if name in own}
    for name in ("corpus", "moments"):
        if name in given and given[name] is not None:
            given[name] = _absolute(given[name])
    arguments = Arguments(**given)
    arguments.check()
    return arguments, {name: value for name, value in options.items() if name not in own}


def _absolute(path: Any) -> Any:
    """The absolute path of a file or folder that exists; anything else as it is."""
    if isinstance(path, str | Path) and Path(path).expanduser().exists():
        return str(Path(path).expanduser().resolve())
    return path if not isinstance(path, Path) else str(path)
