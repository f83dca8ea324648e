"""
Tables and figures from the measurements. Uses no model and no torch.

REQUIRED INPUTS: all scores, perplexities, stabilities and checkpoints of the experiment
OUTPUTS: results/<experiment>/<table>.csv, summary.txt, summary.tex
         results/<experiment>/figures/<model>/<dataset>/<figure>.{pdf,png}
         results/<experiment>/figures/<model>/<dataset>/portability/by_kind.{pdf,png}, if any
         results/<experiment>/captions/<entry>.rst
         results/<experiment>/so_far/, by the rule so_far: tables and figures of finished parts
"""

FIGURES = catalog.figures(len(CHECKPOINTS))


def table_files(entries):
    """The tables of the whole experiment, marked for the report."""
    return [
        reported(paths.at(table=entry.name).table, "table", entry) for entry in entries
    ]


def figure_files(entries, kind):
    """The figures of every model and data set; PNG files are marked for the report."""
    files = []
    for model in MODELS:
        for dataset in DATASETS:
            at = paths.at(model=model, dataset=dataset, kind=kind)
            for entry in entries:
                path = at.at(figure=entry.name).figure
                if kind == "png":
                    path = reported(path, "figure", entry, model, dataset)
                files.append(path)
    return files


def portability_folders():
    """One folder per model and data set; empty if the data set has no portability prompts."""
    return [
        reported(
            directory(paths.at(model=model, dataset=dataset).portability_figures),
            "figure",
            catalog.PORTABILITY,
            model,
            dataset,
            patterns=["{name}.png"],
        )
        for model in MODELS
        for dataset in DATASETS
    ]


def request_files():
    """The requests, if texts are compared with their references, or requests conflict."""
    if not (CONSISTENCY or EDITS["conflicts"]):
        return []
    return expand(paths.requests, model=MODELS, dataset=DATASETS, seed=SEEDS)


TABLES_CODE = code_of(
    "mose/experiment/gather.py",
    "mose/experiment/runs.py",
    "mose/report/latex.py",
    "mose/report/pages.py",
)
FIGURES_CODE = code_of(
    "mose/experiment/runs.py",
    "mose/report/figures/drawing.py",
    "mose/report/figures/gallery.py",
    "mose/report/tables.py",
)
TABLES_PARAMS = {
    "runs": runs_json(CHECKPOINTS),
    "batch": EDITS["batch"],
    "consistency": "--consistency" if CONSISTENCY else "",
    "conflicts": "--conflicts" if EDITS["conflicts"] else "",
}
TABLES_COMMAND = (
    "python {PROGRAMS:q}/tables.py"
    " --runs {params.runs:q}"
    " --batch {params.batch}"
    " {params.consistency}"
    " {params.conflicts}"
)
FIGURES_COMMAND = "python {PROGRAMS:q}/figures.py --runs {params.runs:q}"


rule tables:
    """Gather all measurements. The summary has one row per method, seed and checkpoint."""
    input:
        checkpoints=expand_runs(paths.checkpoint),
        immediate=expand_runs(paths.immediate),
        scores=expand_runs(paths.scores),
        perplexity=expand_runs(paths.perplexity),
        stability=expand_runs(paths.stability),
        unedited=expand(
            paths.unedited_scores,
            model=MODELS,
            dataset=DATASETS,
            seed=SEEDS,
            n=CHECKPOINTS,
        ),
        unedited_perplexity=expand(paths.unedited_perplexity, model=MODELS),
        requests=request_files(),
    output:
        table_files(catalog.TABLES),
        paths.summary_text,
        paths.summary_latex,
    log:
        paths.log("tables"),
    benchmark:
        paths.benchmark("tables")
    resources:
        **LIGHT_RESOURCES,
    params:
        **TABLES_PARAMS,
        code=TABLES_CODE,
    shell:
        TABLES_COMMAND + " > {log:q} 2>&1"


rule figures:
    """Draw the figures of every model and data set, with all methods in each."""
    input:
        [paths.at(table=entry.name).table for entry in catalog.TABLES],
    output:
        figure_files(FIGURES, "pdf"),
        figure_files(FIGURES, "png"),
        portability_folders(),
    log:
        paths.log("figures"),
    benchmark:
        paths.benchmark("figures")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=FIGURES_CODE,
        runs=TABLES_PARAMS["runs"],
    shell:
        FIGURES_COMMAND + " > {log:q} 2>&1"


rule captions:
    """Write the captions of tables and figures for `snakemake --report`."""
    output:
        [paths.at(entry=name).caption for name in catalog.captions()],
    log:
        paths.log("captions"),
    benchmark:
        paths.benchmark("captions")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/experiment/paths.py", "mose/report/catalog.py"),
        experiment=EXPERIMENT,
    shell:
        "python {PROGRAMS:q}/captions.py"
        " --experiment {params.experiment} > {log:q} 2>&1"


rule so_far:
    """Write tables and figures of the finished checkpoints, also while a run goes on.

    They are in results/<experiment>/so_far/. The rule declares no output, so it always runs when
    requested.
    """
    log:
        paths.log("so_far"),
    resources:
        **LIGHT_RESOURCES,
    params:
        **TABLES_PARAMS,
    shell:
        "("
        + TABLES_COMMAND
        + " --so-far && "
        + FIGURES_COMMAND
        + " --so-far) > {log:q} 2>&1"
