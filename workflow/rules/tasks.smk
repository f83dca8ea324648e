"""
Downstream tasks: general abilities of edited models, on the same items at every checkpoint.

REQUIRED INPUTS: the config's tasks, their sources; checkpoints and the other inputs of their runs
OUTPUTS: results/<experiment>/task_items/<task>.json, the task and its items
         .../<method>/seed<seed>/{task_scores<n>.csv,answers<n>.jsonl} beside a checkpoint
         results/<experiment>/<model>/unedited/{task_scores.csv,answers.jsonl}
         results/<experiment>/{task_scores,abilities,comparison}.csv, comparison.txt
         results/<experiment>/figures/<model>/<dataset>/{abilities,retained}.{pdf,png}
"""

TASKS_EVERY = EDITS.get("tasks_every", EDITS["checkpoint"])
TASK_CHECKPOINTS = list(range(TASKS_EVERY, EDITS["total"] + 1, TASKS_EVERY))
TASK_ITEMS = expand(paths.task_items, task=TASKS)
BUILTIN_TASKS = {
    "facts": BUILTIN_FACTS,
    "sentiment": ["mose/data/tasks/sentiment.csv"],
    "inference": ["mose/data/tasks/inference.csv"],
}


def task_file(wildcards):
    """The user's files of a task: its source, or the folder of a task of the harness."""
    source = TASKS[wildcards.task]["source"]
    if "file" in source:
        return local_file(source["file"], f"tasks.{wildcards.task}.source.file")
    folder = TASKS[wildcards.task].get("harness", {}).get("folder")
    if folder is None:
        return []
    return sorted(str(file) for file in Path(folder).rglob("*") if file.is_file())


def builtin_task(wildcards):
    """A params function: digests of a task's built-in files."""
    source = TASKS[wildcards.task]["source"]
    return data_of(*BUILTIN_TASKS.get(source.get("builtin"), []))


def task_files():
    """Tables and figures of the tasks; empty for an experiment without tasks."""
    if not TASKS:
        return []
    return [
        figure_files(catalog.TASK_FIGURES, "pdf"),
        figure_files(catalog.TASK_FIGURES, "png"),
        [paths.at(table=entry.name).table for entry in catalog.TASK_TABLES],
    ]


TASK_COMMAND = "python {PROGRAMS:q}/evaluate_tasks.py" + MODEL_OPTIONS
TASK_OPTIONS = (
    " --tasks {input.prepared:q}" " --out {output.rows:q}" " --texts {output.texts:q}"
)


rule task_items:
    """Read a task's source and draw its items, the same for all models and checkpoints."""
    input:
        task_file,
    output:
        paths.task_items,
    log:
        paths.log("task_items"),
    benchmark:
        paths.benchmark("task_items")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/evaluation/tasks/definition.py",
            "mose/evaluation/tasks/items.py",
        ),
        builtin=builtin_task,
        task=lambda wildcards: as_json(TASKS[wildcards.task]),
    shell:
        "python {PROGRAMS:q}/prepare_task.py"
        " --name {wildcards.task}"
        " --task {params.task:q}"
        " --out {output:q} > {log:q} 2>&1"


rule tasks:
    """Evaluate all tasks at one checkpoint, with one load of the model."""
    input:
        **CHAIN_INPUT,
        checkpoint=paths.checkpoint,
        prepared=TASK_ITEMS,
    output:
        rows=paths.task_scores,
        texts=paths.answers,
    log:
        paths.log("tasks"),
    benchmark:
        paths.benchmark("tasks")
    threads: config["threads"]
    resources:
        **resources_of("tasks"),
    params:
        variant=variant_json,
        code=code_of(
            "mose/editing/chain.py",
            "mose/evaluation/tasks/evaluation.py",
            "mose/storage/records.py",
        ),
    shell:
        TASK_COMMAND
        + CHAIN_OPTIONS
        + " --checkpoint {input.checkpoint:q}"
        + TASK_OPTIONS
        + " > {log:q} 2>&1"


rule tasks_unedited:
    """Evaluate all tasks on the unedited model, for comparison."""
    input:
        model=paths.manifest,
        prepared=TASK_ITEMS,
    output:
        rows=paths.unedited_task_scores,
        texts=paths.unedited_answers,
    log:
        paths.log("tasks_unedited"),
    benchmark:
        paths.benchmark("tasks_unedited")
    threads: config["threads"]
    resources:
        **resources_of("tasks_unedited"),
    params:
        code=code_of(
            "mose/evaluation/tasks/evaluation.py",
            "mose/models/loading.py",
            "mose/storage/records.py",
        ),
    shell:
        TASK_COMMAND + TASK_OPTIONS + " > {log:q} 2>&1"


rule task_tables:
    """Gather the scores of the tasks, and compare them with the unedited model's, item by item."""
    input:
        runs=expand_runs(paths.task_scores, TASK_CHECKPOINTS),
        unedited=expand(paths.unedited_task_scores, model=MODELS),
        summary=paths.at(table="summary").table,
    output:
        table_files(catalog.TASK_TABLES),
        paths.comparison_text,
    log:
        paths.log("task_tables"),
    benchmark:
        paths.benchmark("task_tables")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/experiment/gather.py",
            "mose/experiment/runs.py",
            "mose/report/abilities.py",
        ),
        runs=runs_json(TASK_CHECKPOINTS),
        headlines=as_json([[label, task["headline"]] for label, task in TASKS.items()]),
    shell:
        "python {PROGRAMS:q}/task_tables.py"
        " --runs {params.runs:q}"
        " --headlines {params.headlines:q} > {log:q} 2>&1"


rule task_figures:
    """Draw task scores and retained ability."""
    input:
        paths.at(table="abilities").table,
    output:
        figure_files(catalog.TASK_FIGURES, "pdf"),
        figure_files(catalog.TASK_FIGURES, "png"),
    log:
        paths.log("task_figures"),
    benchmark:
        paths.benchmark("task_figures")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=FIGURES_CODE,
        runs=runs_json(TASK_CHECKPOINTS),
    shell:
        "python {PROGRAMS:q}/task_figures.py" " --runs {params.runs:q} > {log:q} 2>&1"
