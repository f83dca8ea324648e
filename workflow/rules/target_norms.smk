"""
The anchor of anchored targets (NAS): how long the values are that edits of the unedited model ask for.

REQUIRED INPUTS: manifest.json, requests.jsonl of the first seed
OUTPUTS: results/<experiment>/<model>/<dataset>/target_norms/<method>.{csv,json}
"""

TARGET_NORMS = "results/{experiment}/{model}/{dataset}/target_norms/{method}"


rule target_norms_of:
    """Value targets of the first requests, each alone on the unedited model: ||v*|| and the anchor."""
    input:
        model="results/models/{model}/manifest.json",
        requests=f"results/{{experiment}}/{{model}}/{{dataset}}/seed{config['seeds'][0]}/requests.jsonl",
    output:
        norms=f"{TARGET_NORMS}.csv",
        anchor=f"{TARGET_NORMS}.json",
    log:
        "results/logs/target_norms/{experiment}.{model}.{dataset}.{method}.log",
    benchmark:
        "results/benchmarks/target_norms/{experiment}.{model}.{dataset}.{method}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("target_norms"),
    params:
        code=code_of("mose/editing/anchors.py"),
        variant=variant_json,
        pilots=config["pilot_edits"],
        compute=COMPUTE,
    shell:
        "python scripts/target_norms.py --model {input.model:q} {params.compute} {threads} "
        "--variant {params.variant:q} --requests {input.requests:q} --count {params.pilots} "
        "--out {output.norms:q} --anchor {output.anchor:q} > {log:q} 2>&1"


def target_norms_files(_wildcards):
    """For every variant of AlphaEdit, which NAS is based on, by whatever name and wrapper."""
    found = [
        f"{RESULTS}/{model}/{dataset}/target_norms/{method}.json"
        for model, made in MODELS.items()
        for method, variant in made.variants.items()
        if "mose/methods/alphaedit.py" in variant.files()
        for dataset in config["datasets"]
    ]
    if not found:
        raise WorkflowError(
            "config: methods: none is of AlphaEdit, whose targets `target_norms` measures; add one, "
            "or ask for a file: results/EXPERIMENT/MODEL/DATASET/target_norms/METHOD.json"
        )
    return found


rule target_norms:
    """The anchors of all models and data sets: `snakemake target_norms`."""
    input:
        target_norms_files,
