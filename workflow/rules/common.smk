"""
The configuration, and functions that all rules share. Reads files of config/, opens no model.

REQUIRED INPUTS: the config (keys in docs/config.md), config/models/<model>.yaml
OUTPUTS: none
"""

import gc
import json
import logging
import os
import re
import shlex
import sys
from functools import cache, lru_cache
from pathlib import Path

from mose.experiment.config import (
    expand_scan,
    read_experiment,
    sequence_ends,
    target_label,
)
from mose.errors import MoseError
from mose.experiment.locations import CODE
from mose.experiment.overlays import merged
from mose.experiment.paths import BENCHMARKS, LOGS, RESULTS, Paths, numbers_of, spans
from mose.experiment.resources import LIGHT
from mose.experiment.plan import Plan
from mose.experiment.provenance import code_digests, data_digests
from mose.methods.register import files_of
from mose.report import catalog
from mose.storage.files import check_writable, digest_of, write_text
from mose.storage.yaml_files import read_yaml, typed
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake_interface_logger_plugins.common import LogEvent

# A plan is many small objects and no garbage. Collecting it would take an eighth of the time of
# planning 6,000 jobs.
gc.set_threshold(200_000, 50, 1000)

# Jobs use the Python that runs Snakemake, also if its environment is not activated.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

try:
    # Snakemake accepts keys that a file states twice; read_yaml refuses them.
    for path in workflow.configfiles:
        if Path(path).suffix in (".yaml", ".yml"):
            read_yaml(os.path.relpath(path))
    # Snakemake merges every mapping, also sources of different data. And of `--config seeds=[0]` it
    # makes a list of texts.
    layers = [load_configfile(path) for path in workflow.configfiles]
    config, MODELS = read_experiment(
        merged([*layers, typed(workflow.config_settings.config)])
    )
    PLAN = Plan(config, MODELS)
    PLAN.check()
except MoseError as error:
    raise WorkflowError(str(error)) from None

# Programs are called by absolute path: a run may have any working directory.
PROGRAMS = Path(workflow.basedir) / "scripts"

EXPERIMENT = config["experiment"]
DATASETS = config["datasets"]
SEEDS = config["seeds"]
EDITS = config["edits"]
CHECKPOINTS = list(range(EDITS["checkpoint"], EDITS["total"] + 1, EDITS["checkpoint"]))
# Every model has the same labels; their options may differ.
METHODS = list(next(iter(MODELS.values())).variants)
# Number of edits that each of them runs to.
ENDS = sequence_ends(config["methods"], EDITS["total"])
TASKS = config["tasks"]
CORPUS = config["corpus"]
# The name has a digest of the options, so that experiments share equal corpora. Sampled text and
# second moments depend on the number format as well.
CORPUS_LABEL = (
    f"{CORPUS['source'] if CORPUS['source'] == 'sampled' else next(iter(CORPUS['source']))}"
    f"-{CORPUS['tokens']}-{digest_of(CORPUS)[:8]}"
    + ("" if config["dtype"] == "float32" else f"-{config['dtype']}")
)

# The experiment is no wildcard: Snakemake would compare every file of a run with every pattern.
paths = Paths(experiment=EXPERIMENT, corpus=CORPUS_LABEL)


wildcard_constraints:
    model="|".join(MODELS),
    dataset="|".join(DATASETS),
    method="|".join(METHODS),
    layers=r"[0-9_-]+",
    targets=r"layer\d+-[0-9a-f]{8}",
    seed=r"\d+",
    n=r"\d+",
    shard=r"\d+",


# Options of programs that load a model. What changes results is part of a rule's command, and no
# parameter: Snakemake reruns a job if either changes, and fills in every parameter three times a
# job. Where they are computed is filled in later, so that another device makes nothing again.
MODEL_OPTIONS = (
    " --model {input.model:q}"
    " --device {config[device]}"
    f" --dtype {config['dtype']}"
    " --gpus {config[gpus]}"
    " --threads {threads}"
)


def as_json(value):
    """A value as JSON, for a program's option."""
    return json.dumps(value, sort_keys=True)


# By name: contents of the files of `as_option`.
OPTIONS = {}
# Linux takes no argument of more than 128 KiB, and a command is one of Bash; some have two options.
LONGEST_OPTION = 16_000


def as_option(value):
    """A params function: a value as JSON; if that is long, the name of a file with it.

    A function, since Snakemake takes "{text}" in a plain parameter for a wildcard. The name has the
    value's digest, so that it changes with the value. The files are written when a run begins: call
    this while the rules are read.
    """
    option = as_json(value)
    if len(option) > LONGEST_OPTION:
        path = paths.at(digest=digest_of(value)[:16]).options
        OPTIONS[path] = option
        option = path
    return lambda wildcards: option


def write_options():
    """Write the options that are too long for a command."""
    for path, text in OPTIONS.items():
        if not Path(path).exists():
            write_text(path, text)


def variant_of(wildcards):
    """The method and its options, for the model of the run."""
    return MODELS[wildcards.model].variants[wildcards.method]


def variant_json(wildcards):
    """A params function: the method and its options as JSON."""
    return variant_of(wildcards).as_json()


@cache
def code_of(*names):
    """A parameter: digests of these files of the library and of the files that they import.

    Snakemake reruns a job if the value of a parameter changes. A checkout or a copy of the project
    changes no digest.
    """
    return code_digests(names, CODE)


@cache
def data_of(*names):
    """A parameter: digests of these data files of the package."""
    return data_digests(names, CODE)


class Unrecorded(str):
    """A parameter that Snakemake records as empty, so that another value makes nothing again.

    It may only decide whether a job is refused. A params function has to return it: Snakemake makes
    plain texts of other values.
    """

    def __repr__(self):
        return repr("")


ABSENT = set()


def local_file(path, key):
    """A user's file as an input. A run needs it; a dry run only warns that it is missing."""
    if Path(path).exists():
        return path
    message = f"config: {key}: {path}: no such file"
    if not workflow.dryrun:
        raise WorkflowError(message)
    if message not in ABSENT:
        ABSENT.add(message)
        logger.warning(f"{message} (yet)")
    return []


# Snakemake asks for the three resources of a job one after another. No more are kept: after a
# model was fetched, its shape is known.
@lru_cache(maxsize=1)
def needs_of(stage, wildcards):
    """Memory, time and disk of one job; wildcards: its names and values, as a tuple."""
    return PLAN.needs(stage, dict(wildcards))


def resources_of(stage):
    """Memory, time and GPUs of a rule's jobs, counted from the model's shape.

    A profile's `set-resources` overrides them.
    """
    return {
        "mem_mb": lambda wildcards, attempt: needs_of(
            stage, tuple(wildcards.items())
        ).mem_mb(attempt),
        "runtime": lambda wildcards, attempt: needs_of(
            stage, tuple(wildcards.items())
        ).runtime(attempt),
        "gpu": lambda wildcards: PLAN.gpus(needs_of(stage, tuple(wildcards.items()))),
    }


# Resources of rules that load no model.
LIGHT_RESOURCES = {"mem_mb": LIGHT.mem_mb(), "runtime": LIGHT.runtime()}


def runs_json(checkpoints):
    """A params function: the runs of the experiment (`mose.experiment.runs.Runs`)."""
    return as_option(
        {
            "experiment": EXPERIMENT,
            "models": list(MODELS),
            "datasets": list(DATASETS),
            "methods": METHODS,
            "seeds": SEEDS,
            "checkpoints": checkpoints,
            "ends": {label: n for label, n in ENDS.items() if n < checkpoints[-1]},
        }
    )


def expand_runs(pattern, checkpoints=CHECKPOINTS):
    """All files of a pattern over models, data sets, methods, seeds and their checkpoints."""
    return [
        file
        for method, end in ENDS.items()
        for file in expand(
            pattern,
            model=MODELS,
            dataset=DATASETS,
            method=method,
            seed=SEEDS,
            n=[n for n in checkpoints if n <= end],
        )
    ]


def caption_file(kind, entry):
    """The caption file of a "table" or "figure" of the catalog.

    The path is absolute: Snakemake resolves a relative one against the rule file.
    """
    path = paths.at(entry=catalog.caption_name(kind, entry)).caption
    return str(Path(path).absolute())


def reported(path, kind, entry, model="all", dataset="all", about="", patterns=()):
    """A "table" or "figure" of the catalog, marked for `snakemake --report`.

    model, dataset, about: labels, with the rule's wildcards if need be. patterns: files to report,
    if `path` is a folder.
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
    """Refuse to run if results cannot be written.

    Also called after a failed run: on a full disk the log is empty.
    """
    try:
        check_writable(RESULTS, LOGS, BENCHMARKS, paths.folder)
    except MoseError as error:
        raise WorkflowError(f"error: {error}") from None


class Overview(logging.Handler):
    """Says the needs of the run when Snakemake has determined its jobs."""

    said = False

    def emit(self, record):
        if getattr(record, "event", None) == LogEvent.RUN_INFO and not self.said:
            self.said = True
            jobs = list(workflow.dag.needrun_jobs())
            overview = PLAN.overview(
                (job.rule.name, job.wildcards_dict) for job in jobs
            )
            seconds = {
                workflow.dag.jobid(job): PLAN.seconds(job.rule.name, job.wildcards_dict)
                for job in jobs
            }
            show(overview, seconds=seconds)
            # The jobs stay to the end: no collection needs to look at them again.
            gc.freeze()


def show(text, **more):
    """Log what the short log shows as well (mose/cli/short_log.py). more: what it takes from it."""
    logger.info(text, extra={"to_show": True, **more})


if workflow.is_main_process:
    logger.addHandler(Overview())


def print_summary():
    """Show the summary of a finished run."""
    summaries = [paths.summary_text, *([paths.comparison_text] if TASKS else [])]
    texts = [Path(path).read_text() for path in summaries if Path(path).exists()]
    if texts:
        texts.append(
            f"Tables and figures: {paths.folder}/, on one page: {paths.report_page}"
        )
        show("\n".join(["", *texts]))
