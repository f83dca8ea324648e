"""
Choosing settings: an experiment whose `methods:` have `scan:` entries, ranked.

REQUIRED INPUTS: results/<experiment>/summary.csv
OUTPUTS: results/<experiment>/{scan.csv,scan.txt,settings.yaml}
"""


def scan_plan():
    """Which variant came from which entry, and all options of each, by model."""
    return as_json(
        {
            "datasets": list(config["datasets"]),
            "entries": {
                one: label
                for label, entry in config["methods"].items()
                for one in expand_scan(label, entry)
            },
            "options": {
                model: {
                    label: variant.as_dict() for label, variant in made.variants.items()
                }
                for model, made in MODELS.items()
            },
        }
    )


rule choose_settings:
    """Rank the variants of every entry; write the best as settings for config/models/."""
    input:
        summary=f"{RESULTS}/summary.csv",
    output:
        table=f"{RESULTS}/scan.csv",
        text=f"{RESULTS}/scan.txt",
        settings=f"{RESULTS}/settings.yaml",
    log:
        f"results/logs/scan/{EXPERIMENT}.log",
    benchmark:
        f"results/benchmarks/scan/{EXPERIMENT}.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/report/ranking.py"),
        plan=scan_plan(),
    shell:
        "python scripts/choose_settings.py --plan {params.plan:q} --summary {input.summary:q} "
        "--out {output.table:q} --settings {output.settings:q} > {log:q} 2>&1"


rule scan:
    """The table that settings are chosen from; `snakemake scan --configfile ...` makes it."""
    input:
        f"{RESULTS}/scan.csv",
