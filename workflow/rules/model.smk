"""
Makes every model of the experiment local.

REQUIRED INPUTS: config/models/<model>.yaml
OUTPUTS: results/models/<model>/manifest.json (and weights/ beside it, for converted models)
"""


rule model:
    """Fetch and convert a model where that is needed; fingerprint it; check its architecture."""
    output:
        "results/models/{model}/manifest.json",
    log:
        "results/logs/model/{model}.log",
    benchmark:
        "results/benchmarks/model/{model}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("model"),
    params:
        source=lambda wildcards: as_json(MODELS[wildcards.model].source),
    shell:
        "python scripts/prepare_model.py --source {params.source:q} --threads {threads} "
        "--out {output:q} > {log:q} 2>&1"
