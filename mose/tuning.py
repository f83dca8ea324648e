"""Settings for a model that has none: a small scan on built-in facts, remembered for `mose.Editor`.

The variants, their ranking and the facts are those of the workflow's target `scan`.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mose.editing import sequence, shared_targets
from mose.editing.arguments import Arguments, split_arguments
from mose.editing.session import Materials, Session
from mose.editing.writing import FoundTarget
from mose.errors import ConfigError, NumericalError
from mose.evaluation import prompt_scores
from mose.experiment.config import expand_scan
from mose.experiment.model_files import find_model
from mose.experiment.settings import WHERE, choose, remember
from mose.facts.drawing import draw_requests
from mose.facts.readers import read_facts_of
from mose.facts.requests import EditRequest, digest_of_requests
from mose.methods.options import Variant
from mose.methods.register import parse_variant, target_variant
from mose.models.causal_lm import CausalLM
from mose.models.opening import check_dtype, open_source, wrap
from mose.progress import track
from mose.report import ranking
from mose.report.fact_metrics import metrics_of
from mose.storage import cache, files

logger = logging.getLogger(__name__)

EDITS = 20
# What is scanned by default: factors of the options that a starting entry has.
FACTORS = {"lambda": (0.1, 1, 10), "ridge": (0.1, 1, 10), "learning_rate": (0.4, 1)}
NEIGHBOURS, HELD_OUT = 3, 0.2


def tune(
    model: str | Path | PreTrainedModel,
    method: str = "mose",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str | None = None,
    edits: int = EDITS,
    scan: Mapping[str, list[Any]] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Find settings of a method for a model whose file has none, and remember the best.

    model: as in `Editor.from_pretrained`, or a loaded model with its tokenizer, which is unedited
    before and after. method, revision, device, dtype, options: as in `Editor.from_pretrained`.
    edits: built-in facts that each combination edits; of the part `tuning`, so that no experiment
    on the part `evaluation` has seen them. scan: values by option, such as
    {"lambda": [10, 100], "layers": [[3], [4, 5]]}; by default factors (FACTORS) of the settings
    that `Editor` would take: six combinations for methods with `lambda`.
    Methods with a ledger write targets of the unedited model in the scan, found once for all
    combinations that seek the same ones, unless `targets_from` is given. After Ctrl-C the same call
    goes on where it stopped.
    Returns the ranking (`mose.report.ranking.rank`), the best first. `Editor` takes its settings
    from then on, for this model and method; they are in the user's cache.
    Raises ConfigError for wrong arguments, and for a model whose file has settings of the method.
    """
    arguments, given = split_arguments(options)
    check_dtype(dtype)
    requests = _requests(edits, arguments.seed)
    if isinstance(model, str | Path):
        named = find_model(model, revision)
        settings = choose(method, given, named.settings, named.file)
        if settings.own:
            raise ConfigError(
                f"{named.file} has settings of {method}, which Editor takes; to compare others, "
                "use the workflow's target scan"
            )
        lm, _ = open_source(named.source, named.label, named.architecture, device, dtype)
    elif tokenizer is None:
        raise ConfigError("tokenizer: found none; give that of the loaded model")
    else:
        settings = choose(method, given)
        lm = wrap(model, tokenizer)
    start = settings.entry(lm.n_layers, lm.model.num_parameters())
    entries = expand_scan(method, {**start, "scan": dict(scan or _around(start))})
    variants = {label: parse_variant(entry, WHERE) for label, entry in entries.items()}
    logger.info("%d combinations, each with %d edits", len(variants), len(requests))
    share = "targets_from" not in {*given, *(scan or ())}
    tuner = _Scan(lm, method, variants, requests, arguments, share)
    rows = tuner.rows()
    tuner.forget()
    summary = pd.DataFrame(rows).reindex(columns=["method", *ranking.SHOWN]).assign(edits=edits)
    found = {label: variant.as_dict() for label, variant in variants.items()}
    table = ranking.rank(summary, dict.fromkeys(variants, method), found)
    best = table.iloc[0]
    if not best["score"] > 0:
        raise ConfigError(
            "tune: no combination writes facts and spares others (all scores are 0); nothing is "
            "remembered; give other values in scan"
        )
    path = remember(lm.fingerprint, method, found[best["variant"]], float(best["score"]), edits)
    logger.info("score %.3f: %s; kept in %s", best["score"], found[best["variant"]], path)
    return table.drop(columns=["entry", "perplexity"]).reset_index(drop=True)


class _Scan:
    """Combinations edited and measured one after another; what is finished outlives a stop.

    share: variants with a ledger write targets of the unedited model, found once for all that seek
    the same ones. They are those of the editor but for what a batch moves those of the next.
    """

    def __init__(
        self,
        lm: CausalLM,
        method: str,
        variants: Mapping[str, Variant],
        requests: Sequence[EditRequest],
        arguments: Arguments,
        share: bool,
    ) -> None:
        self.lm, self.requests, self.arguments = lm, requests, arguments
        self.variants = {
            label: _with_shared_targets(variant) if share else variant
            for label, variant in variants.items()
        }
        inputs = [
            version("mose"),
            str(lm.model.dtype),
            digest_of_requests(requests),
            asdict(arguments),
            *(variant.as_dict() for variant in self.variants.values()),
        ]
        unfinished = cache.of_settings(lm.fingerprint) / f"{method}-unfinished"
        self.folder = unfinished / files.digest_of(inputs)[:8]

    def rows(self) -> list[dict[str, Any]]:
        """A row of metrics per combination. Those of an earlier call that was stopped are kept."""
        kept = self.folder / "rows.json"
        rows: list[dict[str, Any]] = files.read_json(kept) if kept.is_file() else []
        left = [*self.variants.items()][len(rows) :]
        if rows:
            logger.info("%d combinations are finished already (%s)", len(rows), kept)
        places = range(len(self.requests))
        unedited = prompt_scores.score_requests(self.lm, self.requests, places) if left else None
        try:
            for label, variant in track(left, "combinations"):
                rows.append({"method": label, **self._measure(label, variant, unedited)})
                files.write_json(kept, rows)
        except KeyboardInterrupt:
            logger.warning("stopped; the same call goes on after %d combinations", len(rows))
            raise
        return rows

    def forget(self) -> None:
        """Remove what was kept in case of a stop."""
        unfinished = self.folder.parent
        shutil.rmtree(unfinished, ignore_errors=True)
        if unfinished.parent.is_dir() and not any(unfinished.parent.iterdir()):
            unfinished.parent.rmdir()

    def _measure(self, label: str, variant: Variant, unedited: pd.DataFrame) -> dict[str, float]:
        """The metrics after all edits by one variant; 0 where they fail numerically."""
        arguments = self.arguments
        session = Session(
            self.lm, variant, self._materials, arguments.batch, arguments.seed, arguments.solve_on
        )
        try:
            session.edit(self.requests, found=self._targets(variant))
            places = range(len(self.requests))
            scores = prompt_scores.score_requests(self.lm, self.requests, places)
        except NumericalError as error:
            logger.warning("%s: %s", label, error)
            return dict.fromkeys(ranking.RANKED_BY, 0.0)
        finally:
            session.undo()
        means = metrics_of(scores, unedited).set_index("metric")["value"]
        return {str(metric): float(value) for metric, value in means.items()}

    def _materials(self, lm: CausalLM, variant: Variant) -> Materials:
        """Those of the arguments, with the same templates for all."""
        made = self.arguments.materials(lm, variant)
        self.arguments = replace(self.arguments, templates=tuple(made.templates))
        return made

    def _targets(self, variant: Variant) -> dict[str, FoundTarget] | None:
        """Targets of the unedited model by request, found or read; None if they are not shared."""
        seeker = target_variant(variant)
        if seeker is None:
            return None
        templates = self._materials(self.lm, variant).templates
        path = self.folder / f"targets-{files.digest_of(seeker.as_dict())[:8]}.h5"
        of = seeker, self.lm.fingerprint, self.requests, templates
        if not path.is_file():
            batch = self.arguments.batch
            found = shared_targets.find(self.lm, self.requests, templates, seeker, batch)
            shared_targets.save(path, found, *of)
        return shared_targets.load(path, *of)


def _with_shared_targets(variant: Variant) -> Variant:
    """The variant with targets of the unedited model, where it can have them."""
    options = variant.edit
    if not sequence.keeps_ledger(variant) or getattr(options, "spread", None) == "each":
        return variant
    return parse_variant({**variant.as_dict(), "targets_from": "unedited"}, WHERE)


def _requests(edits: int, seed: int) -> list[EditRequest]:
    """The first requests of the built-in facts' part for choosing settings."""
    if isinstance(edits, bool) or not isinstance(edits, int) or edits < 1:
        raise ConfigError(f"edits: found {edits!r}, expected 1 or more")
    facts, _ = read_facts_of("builtin")
    drawn = draw_requests(facts, seed, False, NEIGHBOURS, HELD_OUT, "tuning")
    if edits > len(drawn):
        raise ConfigError(
            f"edits: found {edits}, but there are {len(drawn)} built-in facts to tune"
        )
    return drawn[:edits]


def _around(entry: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values that are scanned by default, around a starting entry."""
    numbers = {name: entry[name] for name in FACTORS if entry.get(name) is not None}
    return {
        name: [float(f"{value * f:.6g}") for f in FACTORS[name]] for name, value in numbers.items()
    }
