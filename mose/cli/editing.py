"""What `mose edit`, `tune`, `ask`, `evaluate` and `export` do.

What imports torch and transformers, which takes seconds, is imported after names and files are
checked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mose.errors import ConfigError, MoseError, StoreError
from mose.experiment.model_files import find_model
from mose.facts.given import requests_of
from mose.facts.requests import EditRequest, Repeated, check_prompts
from mose.storage import files

if TYPE_CHECKING:
    import pandas as pd

    from mose.editor import Editor
    from mose.models.causal_lm import CausalLM

logger = logging.getLogger(__name__)

STATES = (".h5", ".hdf5")


@dataclass(frozen=True)
class Outputs:
    """What to write: a directory, a patch, a state, an adapter; None for what is not."""

    out: str | None = None
    patch: str | None = None
    state: str | None = None
    adapter: str | None = None

    def check(self, names: str, continued: str | None = None) -> None:
        """Refuse before the work what could not be written after it, or would replace a file.

        names: of the options. continued: a state that may be written over.
        """
        wanted = [path for path in (self.out, self.patch, self.state, self.adapter) if path]
        if not wanted:
            raise ConfigError(f"nothing to write; give {names}")
        if self.state and Path(self.state).suffix not in STATES:
            raise ConfigError(f"--state: found {self.state!r}, expected a name in {STATES[0]}")
        for path in wanted:
            files.check_writable(next(p for p in Path(path).absolute().parents if p.is_dir()))
        own = Path(continued).resolve() if continued else None
        for path in filter(None, (self.patch, self.state)):
            if Path(path).resolve() != own and Path(path).exists():
                raise StoreError(f"{path}: is there already; give another name, or remove it")
        for folder in filter(None, (self.out, self.adapter)):
            if Path(folder).exists() and (not Path(folder).is_dir() or any(Path(folder).iterdir())):
                raise StoreError(f"{folder}: is there already; give a folder that is new or empty")

    def write(self, editor: Editor) -> None:
        """Write everything of an edited model."""
        writers: list[tuple[str | None, Callable[[str], object]]] = [
            (self.state, editor.save),
            (self.patch, editor.save_patch),
            (self.adapter, editor.save_adapter),
            (self.out, editor.save_pretrained),
        ]
        failures = []
        for path, writer in writers:
            if path is None:
                continue
            try:
                writer(path)
                logger.info("written: %s", path)
            except MoseError as error:
                # What can be written is: the edits took longer than everything else.
                failures.append(str(error))
        if failures:
            raise StoreError("; ".join(failures))


@dataclass(frozen=True)
class Records:
    """A file of facts. form, columns: as in `mose.facts.readers.read_facts_of`."""

    path: str
    form: str | None = None
    columns: Mapping[str, str] | None = None

    def requests(self, taken: Collection[str] = ()) -> list[EditRequest]:
        """Its edit requests (`mose.facts.given.requests_of`)."""
        return requests_of(self.path, taken, self.form, self.columns)


def columns_of(text: str | None) -> dict[str, str] | None:
    """Columns from a mapping in YAML. Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ConfigError(
            f"--columns: found {text!r}, expected {{FIELD: COLUMN, ...}}, such as "
            "'{target_new: answer}'"
        )
    return value


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Options from KEY=VALUE, values as in YAML. Raises ConfigError for another form."""
    options = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise ConfigError(f"--option: found {pair!r}, expected KEY=VALUE, such as lambda=100")
        try:
            options[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--option {key}: {text!r} is no value of YAML; quote it") from None
    return options


def edit(
    model: str,
    facts: Records,
    method: str | None,
    options: Mapping[str, Any],
    device: str,
    dtype: str | None,
    outputs: Outputs,
    repeated: Repeated | None = None,
) -> pd.DataFrame:
    """Edit facts and write the outputs; returns `Editor.edits`.

    model: may be a stored state, which is continued with its own method and options.
    method: None for the one that is advised.
    Raises KeyboardInterrupt after writing what was edited before it.
    """
    outputs.check("--out, --patch or --state", continued=model)
    if _is_state(model):
        if options or dtype or method:
            raise ConfigError(
                f"{model}: a state, which has its own method, options and number format; leave "
                "--method, --option and --dtype out"
            )
        editor = _resumed(model, device)
        requests = facts.requests(editor.session.ids)
    else:
        requests = facts.requests()
        find_model(model)
        from mose.editor import Editor

        named = {"method": method} if method else {}
        editor = Editor.from_pretrained(model, device=device, dtype=dtype, **named, **options)
    before = len(editor.session.requests)
    try:
        editor.edit(requests, repeated=repeated)
    except KeyboardInterrupt:
        done = len(editor.session.requests) - before
        logger.warning("stopped after %d of %d facts", done, len(requests))
        if done:
            outputs.write(editor)
        raise
    outputs.write(editor)
    return editor.edits


def tune(
    model: str, method: str, options: Mapping[str, Any], device: str, dtype: str | None
) -> pd.DataFrame:
    """The ranking of `mose.tune`, which remembers the best."""
    find_model(model)
    from mose import tuning

    return tuning.tune(model, method, device=device, dtype=dtype, **options)


def ask(
    model: str,
    prompts: Sequence[str],
    tokens: int,
    patch: str | None,
    device: str,
    dtype: str | None,
) -> list[str]:
    """Greedy continuations, without the prompts. Raises RequestError for a blank prompt."""
    check_prompts(prompts)
    lm, _ = _open(model, patch, device, dtype)
    from mose.evaluation import prompt_scores

    return [text.strip() for text in prompt_scores.generate(lm, prompts, tokens)]


def evaluate(
    model: str, facts: Records, patch: str | None, device: str, dtype: str | None
) -> pd.DataFrame:
    """Metrics of facts (`metrics_of`); without state and patch, none that compares with the
    unedited model."""
    requests = facts.requests()
    lm, unedited = _open(model, patch, device, dtype)
    from mose.evaluation import prompt_scores
    from mose.report.fact_metrics import metrics_of

    places = range(len(requests))
    rows = prompt_scores.score_requests(lm, requests, places)
    if unedited is None:
        table = metrics_of(rows, rows)
        compares = table["metric"].isin(["locality", "locality_exact", "instance_change"])
        return table[~compares].reset_index(drop=True)
    with unedited():
        before = prompt_scores.score_requests(lm, requests, places)
    return metrics_of(rows, before)


def export(state: str, outputs: Outputs, device: str) -> None:
    """Write the edited model of a state."""
    outputs.check("--out, --patch or --adapter")
    outputs.write(_resumed(state, device))


def _resumed(state: str, device: str) -> Editor:
    """The editor of a state. Raises StoreError for a file that is not there."""
    if not Path(state).exists():
        raise StoreError(f"{state}: no such file; give what mose edit --state or Editor.save wrote")
    from mose.editor import Editor

    return Editor.resume(state, device=device)


def _is_state(model: str) -> bool:
    return Path(model).suffix in STATES


def _open(
    model: str, patch: str | None, device: str, dtype: str | None
) -> tuple[CausalLM, Callable[[], AbstractContextManager[object]] | None]:
    """A model to ask, and a context with the unedited one; None if it is not known."""
    if _is_state(model):
        if patch is not None:
            raise ConfigError(f"{model}: a state has its own edits; leave --patch out")
        session = _resumed(model, device).session
        return session.lm, session.unedited
    named = find_model(model)
    if patch is not None and not Path(patch).is_file():
        raise StoreError(f"{patch}: no such file; give the path of a patch")
    from mose.editing.patches import apply_patch, remove_patch
    from mose.models.opening import open_source

    lm, _ = open_source(named.source, named.label, named.architecture, device, dtype)
    if patch is None:
        return lm, None
    apply_patch(lm.model, patch)

    @contextmanager
    def unedited() -> Any:
        remove_patch(lm.model, patch)
        try:
            yield
        finally:
            apply_patch(lm.model, patch)

    return lm, unedited
