"""
The configuration and what all rules share. Reads files of config/ only: nothing here opens a model.

REQUIRED INPUTS: the config (keys in docs/config.md), config/models/<model>.yaml
OUTPUTS: none; names and functions for the other rule files
"""

import gc
import json
import logging
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from mose.experiment.config import expand_scan, read_experiment
from mose.errors import MoseError
from mose.experiment.locations import CODE
from mose.experiment.paths import BENCHMARKS, LOGS, RESULTS, Paths, spans
from mose.experiment.resources import LIGHT
from mose.experiment.plan import Plan
from mose.experiment.provenance import code_digests, data_digests
from mose.methods.register import files_of
from mose.report import catalog
from mose.storage.files import check_writable, digest_of
from mose.storage.yaml_files import read_yaml
from snakemake.exceptions import WorkflowError
from snakemake_interface_logger_plugins.common import LogEvent

# A plan consists of many small objects, none of which is garbage. Collection would take an eighth of
# the time of planning 6,000 jobs.
gc.set_threshold(200_000, 50, 1000)

# Jobs use the Python that runs Snakemake, whether or not its environment is activated.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

try:
    # Snakemake read and merged the files already; of a key that is stated twice it took the last.
    for path in workflow.configfiles:
        if Path(path).suffix in (".yaml", ".yml"):
            read_yaml(os.path.relpath(path))
    config, MODELS = read_experiment(config)
    PLAN = Plan(config, MODELS)
    PLAN.check()
except MoseError as error:
    raise WorkflowError(str(error)) from None

# Programs are called by their full path, so that a run may have any working directory.
PROGRAMS = Path(workflow.basedir) / "scripts"

EXPERIMENT = config["experiment"]
DATASETS = config["datasets"]
SEEDS = config["seeds"]
EDITS = config["edits"]
CHECKPOINTS = list(range(EDITS["checkpoint"], EDITS["total"] + 1, EDITS["checkpoint"]))
# The same labels for every model; what they stand for may differ.
METHODS = list(next(iter(MODELS.values())).variants)
TASKS = config["tasks"]
CORPUS = config["corpus"]
# What a corpus depends on is in its name, so that experiments share what is the same.
CORPUS_LABEL = (
    f"{CORPUS['source'] if CORPUS['source'] == 'sampled' else next(iter(CORPUS['source']))}"
    f"-{CORPUS['tokens']}-{digest_of(CORPUS)[:8]}"
)

# The experiment has no wildcard: Snakemake would compare every file of a run with every pattern.
paths = Paths(experiment=EXPERIMENT, corpus=CORPUS_LABEL)


wildcard_constraints:
    model="|".join(MODELS),
    dataset="|".join(DATASETS),
    method="|".join(METHODS),
    layers=r"[0-9_-]+",
    seed=r"\d+",
    n=r"\d+",
    shard=r"\d+",


# Parameters of a rule whose program loads a model, and its options for them.
MODEL_PARAMS = {
    "device": config["device"],
    "dtype": config["dtype"],
    "gpus": config["gpus"],
}
MODEL_OPTIONS = (
    " --model {input.model:q}"
    " --device {params.device}"
    " --dtype {params.dtype}"
    " --gpus {params.gpus}"
    " --threads {threads}"
)


def as_json(value):
    """A value as a program's option."""
    return json.dumps(value, sort_keys=True)


def variant_of(wildcards):
    """The method and its options, for the run's model."""
    return MODELS[wildcards.model].variants[wildcards.method]


def variant_json(wildcards):
    """A params function: the method and its options as a program's option."""
    return variant_of(wildcards).as_json()


@cache
def code_of(*names):
    """A parameter: the code that the functions of these files of the library compute with.

    Snakemake reruns a job whose parameters changed. A parameter is compared by value: neither a
    checkout nor a copy of the project changes it.
    """
    return code_digests(names, CODE)


@cache
def data_of(*names):
    """A parameter: the contents of these files of the package."""
    return data_digests(names, CODE)


ABSENT = set()


def local_file(path, key):
    """A user's file as an input. A run needs it; a plan can be made before it is there."""
    if Path(path).exists():
        return path
    message = f"config: {key}: {path}: no such file"
    if not workflow.dryrun:
        raise WorkflowError(message)
    if message not in ABSENT:
        ABSENT.add(message)
        logger.warning(f"{message} (yet)")
    return []


def resources_of(stage):
    """Memory, time and GPUs of a rule's jobs, counted from the shape of the model they load.

    A profile's `set-resources` has precedence.
    """
    return {
        "mem_mb": lambda wildcards, attempt: PLAN.needs(
            stage, dict(wildcards.items())
        ).mem_mb(attempt),
        "runtime": lambda wildcards, attempt: PLAN.needs(
            stage, dict(wildcards.items())
        ).runtime(attempt),
        "gpu": lambda wildcards: PLAN.gpus(stage, dict(wildcards.items())),
    }


# Of rules that load no model.
LIGHT_RESOURCES = {"mem_mb": LIGHT.mem_mb(), "runtime": LIGHT.runtime()}


def runs_json(checkpoints):
    """What the experiment consists of, in the config's order, as a program's option."""
    return as_json(
        {
            "experiment": EXPERIMENT,
            "models": list(MODELS),
            "datasets": list(DATASETS),
            "methods": METHODS,
            "seeds": SEEDS,
            "checkpoints": checkpoints,
        }
    )


def expand_runs(pattern, checkpoints=CHECKPOINTS):
    """All files of a pattern over models, data sets, methods, seeds and checkpoints."""
    return expand(
        pattern,
        model=MODELS,
        dataset=DATASETS,
        method=METHODS,
        seed=SEEDS,
        n=checkpoints,
    )


def caption_file(kind, entry):
    """The caption of a "table" or "figure" of the catalog. Absolute: Snakemake takes a relative path
    as one beside the rule file."""
    path = paths.at(entry=catalog.caption_name(kind, entry)).caption
    return str(Path(path).absolute())


def reported(path, kind, entry, model="all", dataset="all", about="", patterns=()):
    """A "table" or "figure" of the catalog, marked for `snakemake --report`.

    model, dataset, about: labels; they may hold wildcards of the rule. patterns: of the files in
    `path`, where it is a folder.
    """
    if entry.per_prompt:
        return path
    return report(
        path,
        caption=caption_file(kind, entry),
        category=entry.category,
        labels={
            "model": model,
            "data set": dataset,
            "kind": kind,
            "shows": f"{entry.title}{about}",
        },
        patterns=list(patterns),
    )


def check_folders():
    """Refuse to begin where results cannot be written, and say so after a failed run: on a full
    disk the log is empty.
    """
    try:
        check_writable(RESULTS, LOGS, BENCHMARKS, paths.folder)
    except MoseError as error:
        raise WorkflowError(f"error: {error}") from None


class Overview(logging.Handler):
    """Prints what the run needs, once Snakemake has told which jobs there are to run."""

    def emit(self, record):
        if getattr(record, "event", None) == LogEvent.RUN_INFO:
            logger.removeHandler(self)
            jobs = workflow.dag.needrun_jobs()
            said = PLAN.overview((job.rule.name, job.wildcards_dict) for job in jobs)
            print(said, file=sys.stderr)


if workflow.is_main_process:
    logger.addHandler(Overview())


def print_summary():
    """Show the tables of a finished run."""
    shown = [paths.summary_text, *([paths.comparison_text] if TASKS else [])]
    texts = [Path(path).read_text() for path in shown if Path(path).exists()]
    if texts:
        texts.append(f"Tables and figures: {paths.folder}/")
        print("", *texts, sep="\n", file=sys.stderr)
