"""
Downstream tasks: what the edits cost in general abilities, on the same items at every checkpoint.

REQUIRED INPUTS: the config's tasks, their sources; checkpoints and what their chains are made from
OUTPUTS: results/<experiment>/tasks/<task>.json, the task and its items
         .../seed<seed>/{tasks<n>.csv,answers<n>.jsonl} beside a checkpoint
         results/<experiment>/<model>/unedited/{tasks.csv,answers.jsonl}
         results/<experiment>/{tasks,abilities,comparison}.csv, comparison.txt
         results/<experiment>/figures/<model>/<dataset>/{abilities,retained}.{pdf,png}
"""

TASK_CHECKPOINTS = list(
    range(
        EDITS.get("tasks_every", EDITS["checkpoint"]),
        EDITS["total"] + 1,
        EDITS.get("tasks_every", EDITS["checkpoint"]),
    )
)
TASK_TABLES = ["tasks", "abilities", "comparison"]
TASK_FIGURES = {
    "abilities": "Score of each task against the number of edits.",
    "retained": "Retained ability: each task's score over the unedited model's, and their mean.",
}
TASK_ITEMS = expand("results/{{experiment}}/tasks/{task}.json", task=TASKS)


def task_inputs(wildcards):
    """The local files that a task is read from."""
    source = TASKS[wildcards.task]["source"]
    builtin = {
        "facts": ["mose/data/facts.csv", "mose/data/relations.yaml"],
        "sentiment": ["mose/data/tasks/sentiment.csv"],
        "inference": ["mose/data/tasks/inference.csv"],
    }
    if "file" in source:
        return local_file(source["file"], f"tasks.{wildcards.task}.source.file")
    return builtin.get(source.get("builtin"), [])


def task_plan():
    """What there is to gather, in the config's order."""
    return as_json(
        {
            "experiment": EXPERIMENT,
            "models": list(MODELS),
            "datasets": list(config["datasets"]),
            "methods": METHODS,
            "seeds": config["seeds"],
            "checkpoints": TASK_CHECKPOINTS,
            "headlines": [[label, task["headline"]] for label, task in TASKS.items()],
        }
    )


def task_runs(pattern):
    """All files of a pattern over the runs and the checkpoints where tasks are evaluated."""
    return expand(
        pattern,
        experiment=EXPERIMENT,
        model=MODELS,
        dataset=config["datasets"],
        method=METHODS,
        seed=config["seeds"],
        n=TASK_CHECKPOINTS,
    )


def task_figures(*kinds):
    return expand(
        f"{RESULTS}/figures/{{model}}/{{dataset}}/{{figure}}.{{kind}}",
        model=MODELS,
        dataset=config["datasets"],
        figure=TASK_FIGURES,
        kind=kinds,
    )


TASK_TABLE_FILES = expand(f"{RESULTS}/{{table}}.csv", table=TASK_TABLES)


def task_files():
    """What an experiment with tasks ends in."""
    return [*task_figures("pdf", "png"), *TASK_TABLE_FILES] if TASKS else []


rule task_items:
    """Read a task's source and draw its items: the same for all models and checkpoints."""
    input:
        task_inputs,
    output:
        "results/{experiment}/tasks/{task}.json",
    log:
        "results/logs/tasks/{experiment}.{task}.log",
    benchmark:
        "results/benchmarks/tasks/{experiment}.{task}.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/evaluation/tasks/items.py"),
        task=lambda wildcards: as_json(TASKS[wildcards.task]),
    shell:
        "python scripts/prepare_task.py --name {wildcards.task} --task {params.task:q} "
        "--out {output:q} > {log:q} 2>&1"


rule tasks:
    """Evaluate all tasks at one checkpoint, with one load of the model."""
    input:
        **CHAIN,
        prepared=TASK_ITEMS,
    output:
        rows=f"{RUN}/tasks{{n}}.csv",
        texts=f"{RUN}/answers{{n}}.jsonl",
    log:
        "results/logs/tasks/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.log",
    benchmark:
        "results/benchmarks/tasks/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("tasks"),
    params:
        code=code_of("mose/evaluation/tasks/scoring.py"),
        variant=variant_json,
        batch=EDITS["batch"],
        compute=COMPUTE,
    shell:
        "python scripts/evaluate_tasks.py "
        + CHAIN_OPTIONS
        + "{params.compute} {threads} "
        "--tasks {input.prepared:q} --out {output.rows:q} --texts {output.texts:q} > {log:q} 2>&1"


rule tasks_unedited:
    """Evaluate all tasks on the unedited model: what is to be retained."""
    input:
        model="results/models/{model}/manifest.json",
        prepared=TASK_ITEMS,
    output:
        rows="results/{experiment}/{model}/unedited/tasks.csv",
        texts="results/{experiment}/{model}/unedited/answers.jsonl",
    log:
        "results/logs/tasks/{experiment}.{model}.unedited.log",
    benchmark:
        "results/benchmarks/tasks/{experiment}.{model}.unedited.tsv"
    threads: config["threads"]
    resources:
        **resources_of("tasks_unedited"),
    params:
        code=code_of("mose/evaluation/tasks/scoring.py"),
        compute=COMPUTE,
    shell:
        "python scripts/evaluate_tasks.py --model {input.model:q} {params.compute} {threads} "
        "--tasks {input.prepared:q} --out {output.rows:q} --texts {output.texts:q} > {log:q} 2>&1"


rule task_tables:
    """Gather the tasks' scores; compare with the unedited model, item by item."""
    input:
        runs=task_runs(f"{RUN}/tasks{{n}}.csv"),
        unedited=expand(
            "results/{experiment}/{model}/unedited/tasks.csv",
            experiment=EXPERIMENT,
            model=MODELS,
        ),
        summary=f"{RESULTS}/summary.csv",
    output:
        TASK_TABLE_FILES,
        f"{RESULTS}/comparison.txt",
    log:
        f"results/logs/tables/{EXPERIMENT}.tasks.log",
    benchmark:
        f"results/benchmarks/tables/{EXPERIMENT}.tasks.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/report/abilities.py"),
        plan=task_plan(),
    shell:
        "python scripts/task_tables.py --plan {params.plan:q} > {log:q} 2>&1"


rule task_figures:
    """Draw the tasks' scores and the retained ability."""
    input:
        f"{RESULTS}/abilities.csv",
    output:
        task_figures("pdf"),
        report(
            task_figures("png"),
            caption="../report/tasks.rst",
            category="Figures",
        ),
    log:
        f"results/logs/figures/{EXPERIMENT}.tasks.log",
    benchmark:
        f"results/benchmarks/figures/{EXPERIMENT}.tasks.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/report/figures/task_curves.py"),
        plan=task_plan(),
    shell:
        "python scripts/task_figures.py --plan {params.plan:q} > {log:q} 2>&1"
