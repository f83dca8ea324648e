"""The front door of the library: `mose.Editor` edits facts in a model, and takes the edits back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mose.editing import export, patches
from mose.editing.arguments import Arguments, absolute, split_arguments
from mose.editing.in_context import refuse_unedited
from mose.editing.session import Session, read_saved
from mose.errors import ConfigError, RequestError, StoreError, shortened
from mose.evaluation import neighbours, prompt_scores, stability
from mose.experiment.model_files import NamedModel, find_model, with_hub_id
from mose.experiment.settings import Settings, choose
from mose.facts.given import requests_of
from mose.facts.requests import EditRequest, Repeated, check_prompts
from mose.models.architectures import Architecture
from mose.models.causal_lm import CausalLM
from mose.models.opening import check_dtype, open_source, wrap
from mose.report.fact_metrics import metrics_of

logger = logging.getLogger(__name__)


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
        arguments, rest = split_arguments(options)
        name = str(getattr(getattr(model, "config", None), "_name_or_path", ""))
        known = with_hub_id(name) if name else None
        settings = choose(method, rest, *(() if known is None else (known.settings, known.file)))
        lm = wrap(model, tokenizer, architecture)
        self._start(lm, settings, arguments, Origin(name or type(model).__name__))

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
        moments, solve_on); all others are options of the method (docs/config.md), `lambda` spelled
        retention_weight.
        Raises ConfigError, ModelError, RequestError or StoreError for wrong arguments, before
        anything is loaded.
        """
        arguments, rest = split_arguments(options)
        check_dtype(dtype)
        named = find_model(name, revision)
        settings = choose(method, rest, named.settings, named.file)
        refuse_unedited(settings.variant(1, 1))  # of any size
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
        if (model is None) != (tokenizer is None):
            raise ConfigError("model, tokenizer: found one of them; give both, or neither")
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
        editor.settings = saved.editor["settings"]
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
        settings = settings.tuned(lm.fingerprint)
        sizes = lm.n_layers, lm.model.num_parameters()
        variant = settings.variant(*sizes)
        self.settings = settings.says(*sizes)
        self.origin, self.arguments = origin, arguments
        self.session = Session(
            lm, variant, arguments.materials, arguments.batch, arguments.seed, arguments.solve_on
        )
        self._measured: tuple[int, pd.DataFrame] = (0, pd.DataFrame())
        log = logger.warning if settings.others else logger.info
        log("%s", self.settings)

    def __repr__(self) -> str:
        method, edits = self.session.variant.method, len(self.session.requests)
        return f"Editor({self.origin.name}, {method}, {edits} edits)"

    @property
    def model(self) -> PreTrainedModel:
        """The model of transformers, with the edits so far."""
        return self.session.lm.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.session.lm.tokenizer

    def edit(
        self,
        facts: Any,
        form: str | None = None,
        columns: Mapping[str, str] | None = None,
        repeated: Repeated | None = None,
    ) -> None:
        """Write facts into the model, in batches of `batch`.

        facts: a record with subject, prompt (with {} for the subject) and target_new, or a list of
        them; a data frame with these columns; the path of a file in any form of docs/data.md.
        form: of the records, where their fields do not tell. columns: {our field: their column}.
        repeated: what becomes of an earlier fact with the same subject and prompt. replace: it is
        taken back first, as by `remove`; keep: both are written; refuse: RequestError. None:
        replace for methods with a ledger, keep for others.
        Ctrl-C leaves the model as after the last whole batch. Facts that the model does not tell
        afterwards are named in a warning, and so are neighbour prompts (`locality`) that get
        another answer than of the unedited model, of as many as there are facts (32 for fewer).
        Raises RequestError for facts that cannot be used, before any is written.
        """
        requests = requests_of(facts, self.session.ids, form, columns)
        self.session.edit(requests, repeated)
        ids = {request.id for request in requests}
        written = [request for request in self.session.requests if request.id in ids]
        self._warn_of_unwritten(written)
        if said := neighbours.notice(self.session.lm, self.session.unedited, written):
            logger.warning("%s", said)

    def _warn_of_unwritten(self, written: Sequence[EditRequest]) -> None:
        """Log which of these edits the model does not tell."""
        unwritten = [
            request.subject
            for request, told in zip(written, self._told(written), strict=True)
            if not told
        ]
        if unwritten:
            logger.warning(
                "%d of %d facts are not what the model says now (%s); Editor.edits has their "
                "losses, other settings may write them (mose.tune)",
                len(unwritten), len(written), shortened(", ".join(unwritten)),
            )  # fmt: skip

    def _told(self, requests: Sequence[EditRequest]) -> list[bool]:
        """Whether the model predicts the whole new object of each."""
        pairs = [(request.text, request.target_new) for request in requests]
        scores = prompt_scores.score_targets(self.session.lm, pairs)
        return [score.right == score.tokens for score in scores]

    @overload
    def ask(self, prompt: str, tokens: int = 10) -> str: ...
    @overload
    def ask(self, prompt: list[str], tokens: int = 10) -> list[str]: ...
    def ask(self, prompt: str | list[str], tokens: int = 10) -> str | list[str]:
        """The model's greedy continuation of a prompt, or of each of a list, without the prompt.

        tokens: most tokens of an answer.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        check_prompts(prompts)
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
        new object), replaces (ids of the edits that were taken back for it)."""
        requests = self.session.requests
        rows = [
            (
                *(request.id, request.subject, request.prompt, request.target_new),
                *(done.loss, done.attained, done.seconds, told),
                ", ".join(self.session.replaced.get(request.id, [])),
            )
            for request, done, told in zip(
                requests, self.session.state.diagnoses, self._told(requests), strict=True
            )
        ]
        columns = ["request", "subject", "prompt", "target_new"]
        columns += ["loss", "attained", "seconds", "still_there", "replaces"]
        return pd.DataFrame(rows, columns=columns)

    def undo(self) -> None:
        """Take all edits back: the model's weights are the unedited ones, bit for bit."""
        self.session.undo()
        self._measured = (0, pd.DataFrame())

    def remove(self, subject: str | None = None, *, request: str | None = None) -> None:
        """Take single edits back: all of a subject, or the one with the id `request`.

        The others are solved again from the unedited weights. With `targets_from="unedited"` it is
        as if what is removed had never been written; otherwise later edits found their targets in
        its presence.
        Raises RequestError if there is no such edit, ConfigError for methods without a ledger
        (ROME, R-ROME, trained methods, reachable targets).
        """
        if (subject is None) == (request is None):
            raise RequestError("remove: give either a subject or the id of a request")
        edits = self.session.requests
        chosen = [e.id for e in edits if e.id == request or e.subject == subject]
        if not chosen:
            named = f"subject {subject!r}" if request is None else f"request {request!r}"
            known = [e.subject if request is None else e.id for e in edits]
            listed = shortened(", ".join(dict.fromkeys(known))) or "none"
            raise RequestError(f"remove: no edit of {named}; there are edits of {listed}")
        self.session.remove(chosen)
        self._measured = (0, pd.DataFrame())

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
        edited = prompt_scores.score_requests(lm, requests, places)
        with self.session.unedited():
            unedited = prompt_scores.score_requests(lm, requests, places)
        table = metrics_of(edited, unedited, each)
        if facts is None and not each:
            self._measured = len(requests), table
        return table

    def stability(self) -> pd.DataFrame:
        """What the edits did to the edited matrices: a row per layer (norms, spectrum, change)."""
        session = self.session
        rows = stability.measure_state(session.state, session.base, self.model.dtype)
        return pd.DataFrame(rows, columns=stability.COLUMNS)

    def save(self, path: str | Path) -> str:
        """Store the edits, so that `resume` continues from them; returns the file's digest."""
        editor = {
            "name": absolute(self.origin.name),
            "revision": self.origin.revision,
            "opened": self.origin.directory is not None,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "settings": self.settings,
            "arguments": asdict(self.arguments),
        }
        return self.session.save(path, editor)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the edited model as a plain directory of transformers: weights in the number
        format of the model's own files, tokenizer, generation config, a model card, and mose.json
        (facts, settings, digests, and the last metrics of `evaluate()`).

        Raises StoreError for a folder that is not empty.
        """
        session = self._edited()
        dtype = export.own_dtype(self.origin.directory, self.model.dtype)
        export.save_directory(session.lm, folder, dtype, self._record())

    def save_patch(self, path: str | Path) -> patches.Patch:
        """Write the exact change as one safetensors file, for `mose.apply_patch` and
        `mose.remove_patch`."""
        session = self._edited()
        lm = session.lm
        base, edited = (patches.by_name(lm, weights) for weights in (session.base, session.weights))
        record = self._record()
        return patches.save_patch(path, base, edited, record.base, record.method, record.facts)

    def save_adapter(self, folder: str | Path) -> None:
        """Write the change as an adapter of PEFT, to rounding, where it has low rank.

        Low is a rank at which the adapter holds fewer numbers than the edited matrices. Raises
        ConfigError for a change of a higher one, StoreError for a folder that is not empty.
        """
        session = self._edited()
        export.save_adapter(session.lm, folder, session.base, session.weights, self._record())

    def _edited(self) -> Session:
        if not self.session.requests:
            raise ConfigError("nothing is edited yet, so there is nothing to save; call edit first")
        return self.session

    def _record(self) -> export.Record:
        session = self.session
        count, table = self._measured
        return export.record_of(
            session.lm,
            self.origin.name,
            self.settings,
            session.variant,
            session.requests,
            self.origin.revision,
            table.to_dict("records") if count == len(session.requests) else [],
        )
