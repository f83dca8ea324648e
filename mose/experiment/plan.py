"""Needs of every job of an experiment, from its configuration. Imports no torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mose.errors import ConfigError
from mose.experiment.config import Model
from mose.experiment.paths import Paths
from mose.experiment.resources import LIGHT, Machine, Needs, Shape, Work
from mose.experiment.stages import STAGES, needs
from mose.storage import files

# Assumed for a model of unknown shape: not fetched yet, and its file states none.
UNKNOWN = Needs(16e9, 16e9, 1e9, 3600)
SAMPLED_ROWS = 128  # texts of a corpus sampled at a time
STARTERS = 5  # starting words of context templates
START_SECONDS = 10.0  # of a program that imports torch


@dataclass(frozen=True)
class Plan:
    """An experiment and the needs of its jobs.

    config, models: as `mose.experiment.config.read_experiment` returns them.
    """

    config: Mapping[str, Any]
    models: Mapping[str, Model]

    @property
    def machine(self) -> Machine:
        """The machine of the jobs that load a model."""
        config = self.config
        gpu = str(config["device"]).startswith("cuda")
        return Machine(gpu, config["dtype"], config["threads"], config["solve_on"])

    def shape(self, model: str) -> Shape | None:
        """The model's shape: from its manifest if that exists, else from its file or its directory.

        None if no source has it. Raises ConfigError if file and manifest disagree.
        """
        stated, source = self.models[model].shape, self.models[model].source
        path = _manifest(model)
        if not path.exists():
            if stated is None and "local" in source:
                return _shape_of_directory(_path(source["local"]).resolve())
            return stated
        actual = _shape_of_manifest(path.resolve())
        if stated is not None:
            _compare(model, stated, actual)
        return actual

    def needs(self, stage: str, wildcards: Mapping[str, Any]) -> Needs:
        """Needs of one job. stage: a rule's name; wildcards: the rule's, `model` among them."""
        shape = self.shape(wildcards["model"])
        if stage == "facts" and not self._asks_model(wildcards["dataset"]):
            return LIGHT
        if shape is None:
            return UNKNOWN
        return needs(stage, shape, self.machine, self._work(stage, wildcards))

    def seconds(self, stage: str, wildcards: Mapping[str, Any]) -> float:
        """Expected seconds of one job, with its start. Jobs that load no model count the start."""
        return START_SECONDS + (self.needs(stage, wildcards).seconds if stage in STAGES else 0)

    def gpus(self, needs: Needs) -> int:
        """Snakemake's resource: number of GPUs of one job with these needs."""
        on_gpu = self.machine.gpu and needs.device > 0
        return int(self.config["gpus"]) if on_gpu else 0

    def _asks_model(self, dataset: str) -> bool:
        """Whether the model is asked which facts of a data set it knows."""
        return bool(self.config["datasets"][dataset]["known_only"])

    def _work(self, stage: str, wildcards: Mapping[str, Any]) -> Work:
        """Sizes of one job, beside the model's."""
        config = self.config
        variants = self.models[wildcards["model"]].variants
        variant = variants[wildcards["method"]] if "method" in wildcards else None
        corpus, edits, measured = config["corpus"], config["edits"], config["measure"]
        if stage == "model":
            return Work()
        if stage == "corpus":
            heldout = wildcards["part"] == "heldout"
            tokens = corpus["heldout"] if heldout else corpus["tokens"] // corpus["shards"]
            rows = math.ceil(tokens / corpus["window"])
            sampled = min(rows, SAMPLED_ROWS) if corpus["source"] == "sampled" else 0
            return Work(tokens=tokens, sampled=sampled, window=corpus["window"])
        if stage in ("second_moments", "add_second_moments"):
            tokens = corpus["tokens"] // corpus["shards"]
            return Work(
                layers=self.models[wildcards["model"]].layers,
                tokens=tokens,
                shards=corpus["shards"],
            )
        if stage == "templates":
            rows, length = config["templates"]["per_starter"], config["templates"]["length"]
            return Work(tokens=STARTERS * rows * length, sampled=rows, window=length)
        if stage in ("null_space", "perplexity_unedited"):
            return Work(variant=variant, tokens=corpus["heldout"])
        if stage == "facts":
            # All facts are asked: more than are edited, as some are unknown or held out.
            return Work(requests=2 * edits["total"])
        if stage in ("tasks", "tasks_unedited"):
            return Work(variant=variant, items=sum(t["samples"] for t in config["tasks"].values()))
        if stage == "targets":
            seeker = self.models[wildcards["model"]].seekers[wildcards["targets"]]
            return Work(variant=seeker, requests=edits["checkpoint"], batch=edits["batch"])
        if stage == "target_norms_of":
            return Work(variant=variant, requests=config["pilot_edits"], batch=edits["batch"])
        if stage == "layer_scores":
            return Work(requests=edits["total"])
        # Edit prompt, two paraphrases, locality prompts.
        prompts = 3 + config["datasets"][wildcards["dataset"]]["neighbours"]
        segment = edits["checkpoint"]
        if stage == "measure":
            earlier = int(wildcards["n"]) - segment
            cap = measured["earlier"]
            scored = segment + (earlier if cap is None else min(cap, earlier))
        else:
            scored = segment
        generated = min(measured["generate"], scored) * measured["generated_tokens"]
        generated += min(measured["fluency"], scored) * measured["fluency_tokens"]
        if stage in ("measure", "measure_unedited"):
            # Once for each of two objects.
            generated += 2 * min(measured["prefixed"], scored) * measured["prefix_tokens"]
        return Work(
            variant=variant, requests=scored, prompts=prompts, batch=edits["batch"],
            tokens=corpus["heldout"] + generated,
        )  # fmt: skip

    def check(self) -> None:
        """Refuse a missing or replaced local model, a layer that a model lacks, a wrong shape.

        Models of unknown shape pass. Raises ConfigError.
        """
        for name, model in self.models.items():
            local = model.source.get("local")
            # With a manifest, the model is checked by the jobs that load it.
            if local is not None and not (_manifest(name).exists() or _path(local).exists()):
                raise ConfigError(
                    f"{model.file}: source.local: {local}: no such file or directory; put the "
                    "model there, or name where it is"
                )
            if local is not None and _manifest(name).exists():
                _check_not_replaced(model, _manifest(name))
            shape = self.shape(name)
            if shape is not None:
                _check_layers(name, model, shape)

    def overview(self, jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
        """The summed needs of jobs as text, one line per model, and the terms of models to fetch.

        jobs: rule and wildcards of each job to run; those that load no model do not count.
        """
        by_model: dict[str, list[tuple[str, Needs]]] = {model: [] for model in self.models}
        for stage, wildcards in jobs:
            if stage in STAGES:
                by_model[wildcards["model"]].append((stage, self.needs(stage, wildcards)))
        lines = ["What is to run needs, counted from the models' shapes (docs/scale.md):"]
        lines += [f"  {model}: {self._sum(model, needed)}" for model, needed in by_model.items()]
        for model, needed in by_model.items():
            terms = self.models[model].source.get("terms")
            if terms and any(stage == "model" for stage, _ in needed):
                lines.append(f"Terms of {model}, which is to be fetched: {terms}")
        return "\n".join(lines)

    def _sum(self, model: str, jobs: Sequence[tuple[str, Needs]]) -> str:
        """Number of jobs, hours in sequence, peak memory and disk of one model, as text."""
        if not jobs:
            return "nothing"
        if self.shape(model) is None:
            return (
                f"not known, {_gb(UNKNOWN.host)} a job are assumed; give its `shape:` in the "
                "model's file"
            )
        host = max(jobs, key=lambda job: job[1].host)
        device = max(jobs, key=lambda job: job[1].device)
        seconds = sum(job.seconds for _, job in jobs)
        gpu = f", {_gb(device[1].device)} of a GPU ({device[0]})" if self.machine.gpu else ""
        return (
            f"{len(jobs)} jobs, {seconds / 3600:,.1f} hours one after another; "
            f"memory {_gb(host[1].host)} ({host[0]}){gpu}; disk {_gb(sum(j.disk for _, j in jobs))}"
        )


def _check_layers(name: str, model: Model, shape: Shape) -> None:
    for label, variant in model.variants.items():
        last = max(variant.edit.layers)
        if last >= shape.blocks:
            raise ConfigError(
                f"config: methods.{label}.layers: found {last}, expected 0 to {shape.blocks - 1}: "
                f"{name} has {shape.blocks} blocks"
            )


def _check_not_replaced(model: Model, manifest: Path) -> None:
    """Refuse a .gguf file that is another than the one that was converted.

    A directory is compared with its fingerprint by the jobs that load it.
    """
    local = model.source["local"]
    converted = files.read_json(manifest).get("file")
    if converted is None or converted["path"] != str(_path(local).resolve()):
        return
    if files.is_replaced(converted):
        raise ConfigError(
            f"{model.file}: source.local: {local} is another file than the one that {manifest} was "
            "made of; restore that one, or delete the manifest to begin anew with this one"
        )


def _manifest(model: str) -> Path:
    return Path(Paths(model=model).manifest)


def _path(local: str) -> Path:
    return Path(local).expanduser()


def _compare(model: str, stated: Shape, actual: Shape) -> None:
    for name in ("parameters", "blocks", "width", "mlp_width"):
        if getattr(stated, name) != getattr(actual, name):
            raise ConfigError(
                f"models: {model}: its file says shape.{name}: {getattr(stated, name)}, "
                f"the model has {getattr(actual, name)}"
            )


@cache
def _shape_of_manifest(path: Path) -> Shape:
    return Shape.of_manifest(files.read_json(path))


@cache
def _shape_of_directory(path: Path) -> Shape | None:
    return Shape.of_directory(path)


def _gb(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"
