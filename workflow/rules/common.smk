"""
Reads the configuration and says what depends on what, by name only: nothing here opens a model.

REQUIRED INPUTS: the config (keys in docs/config.md), config/models/<model>.yaml
OUTPUTS: names and functions for the other rule files
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
from mose.experiment.installed import library_folder
from mose.experiment.resources import LIGHT
from mose.experiment.plan import Plan
from mose.experiment.provenance import defining, label_of
from mose.storage.files import check_writable, digest_of, sha256_of_file
from mose.methods.register import files_of
from mose.storage.yaml_files import read_yaml
from snakemake.exceptions import WorkflowError
from snakemake_interface_logger_plugins.common import LogEvent

# Of the many small objects that a plan consists of none is garbage: looking for some would take an
# eighth of the time of planning 6,000 jobs.
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

EXPERIMENT = config["experiment"]
# For files that a run makes once: a wildcard in its place would let Snakemake compare every file
# of the run with each of their names.
RESULTS = f"results/{EXPERIMENT}"
EDITS = config["edits"]
CHECKPOINTS = list(range(EDITS["checkpoint"], EDITS["total"] + 1, EDITS["checkpoint"]))
# The same labels for every model; what they stand for may differ.
METHODS = list(next(iter(MODELS.values())).variants)
TASKS = config["tasks"]
CORPUS = config["corpus"]
SEVERAL = f"--gpus {config['gpus']} " if config["gpus"] > 1 else ""
COMPUTE = f"--device {config['device']} --dtype {config['dtype']} {SEVERAL}--threads "


def spans(numbers):
    """Numbers as "4-8" or "4_6-8": part of a file's name."""
    parts = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return "_".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def as_json(value):
    return json.dumps(value, sort_keys=True)


# What a corpus depends on is in its name, so that experiments share what is the same.
CORPUS_LABEL = (
    f"{CORPUS['source'] if CORPUS['source'] == 'sampled' else next(iter(CORPUS['source']))}"
    f"-{CORPUS['tokens']}-{digest_of(CORPUS)[:8]}"
)
CORPUS_FOLDER = f"results/models/{{model}}/corpus/{CORPUS_LABEL}"
MOMENTS = f"{CORPUS_FOLDER}/layers{{layers}}"


def layers_of(model):
    """All layers that any method edits in a model: their second moments are one file."""
    return spans(MODELS[model].layers)


def moments_of(wildcards):
    """The second moments that a run on a model needs."""
    return f"{MOMENTS}/moments.h5".format(
        model=wildcards.model, layers=layers_of(wildcards.model)
    )


def variant_of(wildcards):
    """The method and its options, for the run's model."""
    return MODELS[wildcards.model].variants[wildcards.method]


def variant_json(wildcards):
    """A params function: the same, as a program takes it."""
    return as_json(variant_of(wildcards).as_dict())


@cache
def code_of(*paths):
    """
    A parameter: what these files of the library compute with, each file with the beginning of its
    digest. By content, unlike an input, so that neither a checkout nor a copy of results makes
    anything again.
    """
    root = library_folder()
    return [
        f"{label_of(path)} {sha256_of_file(root / path)[:12]}"
        for path in defining(paths, root)
    ]


ABSENT = set()


def local_file(path, key):
    """A user's file as an input. A run needs it; a plan can be made before it is there."""
    if Path(path).exists():
        return path
    said = f"config: {key}: {path}: no such file"
    if not workflow.dryrun:
        raise WorkflowError(said)
    if said not in ABSENT:
        ABSENT.add(said)
        logger.warning(f"{said} (yet)")
    return []


def resources_of(stage):
    """
    A rule's resources, from the shape of the model that its jobs load. A profile's
    `set-resources` have precedence.
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


wildcard_constraints:
    experiment="|".join([EXPERIMENT]),
    model="|".join(MODELS),
    dataset="|".join(config["datasets"]),
    method="|".join(METHODS),
    layers=r"[0-9_-]+",
    seed=r"\d+",
    n=r"\d+",
    shard=r"\d+",


def datasets_key(key):
    """A params function: one key of the data set's block."""
    return lambda wildcards: config["datasets"][wildcards.dataset][key]


def run_files(pattern):
    """All files of a pattern over models, data sets, methods, seeds and checkpoints."""
    return expand(
        pattern,
        experiment=EXPERIMENT,
        model=MODELS,
        dataset=config["datasets"],
        method=METHODS,
        seed=config["seeds"],
        n=CHECKPOINTS,
    )


def check_folders():
    """Refuse to begin, and say why a run failed, where results cannot be written: on a full disk
    the log that says so is empty.
    """
    kept = ("logs", "benchmarks", EXPERIMENT)
    try:
        check_writable("results", *(f"results/{name}" for name in kept))
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
    """Show the summary table of a finished run."""
    table = Path(f"results/{EXPERIMENT}/summary.txt")
    if table.exists():
        abilities = table.with_name("comparison.txt")
        more = f"\n{abilities.read_text()}" if TASKS and abilities.exists() else ""
        print(
            f"\n{table.read_text()}{more}\nTables and figures: results/{EXPERIMENT}/",
            file=sys.stderr,
        )
