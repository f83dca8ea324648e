"""
The anchor of anchored value targets (NAS): the mean norm of target values on the unedited model.

REQUIRED INPUTS: manifest.json, requests.jsonl of the first seed
OUTPUTS: results/<experiment>/<model>/<dataset>/target_norms/<method>.{csv,json}
"""


rule target_norms_of:
    """Optimise the value targets of the first requests, each alone on the unedited model."""
    input:
        model=paths.manifest,
        requests=paths.at(seed=SEEDS[0]).requests,
    output:
        norms=paths.target_norms,
        anchor=paths.anchor,
    log:
        paths.log("target_norms_of"),
    benchmark:
        paths.benchmark("target_norms_of")
    threads: config["threads"]
    resources:
        **resources_of("target_norms_of"),
    params:
        code=code_of(
            "mose/editing/anchors.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
        variant=variant_json,
        pilots=config["pilot_edits"],
    shell:
        "python {PROGRAMS:q}/target_norms.py"
        + MODEL_OPTIONS
        + " --variant {params.variant:q}"
        " --requests {input.requests:q}"
        " --count {params.pilots}"
        " --out {output.norms:q}"
        " --anchor {output.anchor:q} > {log:q} 2>&1"


def anchor_files(_wildcards):
    """One file per variant that uses AlphaEdit, wrapped or not: NAS is based on it."""
    files = [
        paths.at(model=name, dataset=dataset, method=label).anchor
        for name, model in MODELS.items()
        for label, variant in model.variants.items()
        if "mose/methods/alphaedit.py" in files_of(variant)
        for dataset in DATASETS
    ]
    if not files:
        raise WorkflowError(
            "config: methods: none is of AlphaEdit, whose targets `target_norms` measures; add one "
            "or ask for a file: results/EXPERIMENT/MODEL/DATASET/target_norms/METHOD.json"
        )
    return files


rule target_norms:
    """The anchors of all models and data sets: `snakemake target_norms`."""
    input:
        anchor_files,
