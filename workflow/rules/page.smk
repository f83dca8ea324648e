"""
The report: an experiment on one page, which needs no network and no other file.

REQUIRED INPUTS: all tables and figures of the experiment
OUTPUTS: results/<experiment>/report.html
         results/<experiment>/figures/times.{pdf,png,csv}, of the jobs' own times
"""


def report_settings():
    """A params function: what the page says of the experiment."""
    methods = {
        name: {label: variant.as_dict() for label, variant in model.variants.items()}
        for name, model in MODELS.items()
    }
    targets = sorted({label for model in MODELS.values() for label in model.seekers})
    return as_option({"configuration": config, "methods": methods, "targets": targets})


rule report_page:
    """Write tables, figures and settings as one page, which needs no network and no other file."""
    input:
        [paths.at(table=entry.name).table for entry in catalog.TABLES],
        figure_files(FIGURES, "png"),
        [
            paths.at(model=model, dataset=dataset).portability_figures
            for model in MODELS
            for dataset in DATASETS
        ],
        task_files(),
        expand(paths.manifest, model=MODELS),
    output:
        paths.report_page,
        multiext(paths.times_figure, ".pdf", ".png", ".csv"),
    log:
        paths.log("report_page"),
    benchmark:
        paths.benchmark("report_page")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/experiment/job_times.py",
            "mose/experiment/runs.py",
            "mose/report/catalog.py",
            "mose/report/figures/costs.py",
            "mose/report/figures/drawing.py",
            "mose/report/html_page.py",
            "mose/report/tables.py",
        ),
        page=data_of("mose/report/html_page.html"),
        runs=TABLES_PARAMS["runs"],
        corpus=CORPUS_LABEL,
        settings=report_settings(),
    shell:
        "python {PROGRAMS:q}/report_page.py"
        " --runs {params.runs:q}"
        " --corpus {params.corpus:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"
