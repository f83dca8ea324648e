"""
Sequential knowledge editing: tables and figures over the number of edits, for a model and facts.

REQUIRED INPUTS: a config (--configfile; default: config/demo.yaml)
OUTPUTS: results/<experiment>/, relative to the working directory (mose/experiment/paths.py)
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/moments.smk"
include: "workflow/rules/requests.smk"
include: "workflow/rules/edit.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/next_tokens.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/layer_choice.smk"
include: "workflow/rules/target_norms.smk"


localrules:
    all,
    captions,
    choose_settings,
    enough_requests,
    export,
    figures,
    layer_choice,
    layer_figure,
    next_tokens,
    report_page,
    requests,
    scan,
    so_far,
    tables,
    target_norms,
    task_figures,
    task_tables,


report: "workflow/report/workflow.rst"


rule all:
    """The tables and figures of the experiment."""
    default_target: True
    input:
        paths.at(table="summary").table,
        figure_files(FIGURES, "pdf"),
        figure_files(FIGURES, "png"),
        rules.captions.output,
        paths.report_page,
        task_files(),
        enough_requests_files(),
        null_space_files(),


onstart:
    check_folders()
    write_options()


onsuccess:
    print_summary()


onerror:
    check_folders()
