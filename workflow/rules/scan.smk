"""
Choice of settings: ranks the variants of an experiment with `scan:` entries in `methods:`.

REQUIRED INPUTS: results/<experiment>/summary.csv
OUTPUTS: results/<experiment>/{scan.csv,scan.txt,best_settings.yaml}
"""


def scan_entries():
    """The entry of `methods:` of each variant, by label."""
    return {
        label: entry
        for entry, options in config["methods"].items()
        for label in expand_scan(entry, options)
    }


def scan_options():
    """All options of each variant, by model and label."""
    return {
        name: {label: variant.as_dict() for label, variant in model.variants.items()}
        for name, model in MODELS.items()
    }


rule choose_settings:
    """Rank the variants of every entry; write the best as settings for config/models/."""
    input:
        summary=paths.at(table="summary").table,
    output:
        table=reported(paths.at(table="scan").table, "table", catalog.SCAN),
        text=paths.scan_text,
        settings=paths.best_settings,
    log:
        paths.log("choose_settings"),
    benchmark:
        paths.benchmark("choose_settings")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/report/ranking.py", "mose/report/tables.py"),
        entries=as_option(scan_entries()),
        options=as_option(scan_options()),
    shell:
        "python {PROGRAMS:q}/choose_settings.py"
        " --entries {params.entries:q}"
        " --options {params.options:q}"
        " --summary {input.summary:q}"
        " --out {output.table:q}"
        " --text {output.text:q}"
        " --settings {output.settings:q} > {log:q} 2>&1"


rule scan:
    """The ranking of a scan: `snakemake scan --configfile ...`."""
    input:
        paths.scan_text,
        rules.captions.output,
