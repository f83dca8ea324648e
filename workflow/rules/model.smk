"""
Makes every model of the experiment local.

REQUIRED INPUTS: config/models/<model>.yaml
OUTPUTS: results/models/<model>/manifest.json (and weights/ beside it, for converted models)
"""


def architecture_option(wildcards):
    """A params function: where a model's file says that its edited projections are."""
    named = MODELS[wildcards.model].architecture
    return f"--architecture {shlex.quote(as_json(named))}" if named else ""


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
        architecture=architecture_option,
    shell:
        "python scripts/prepare_model.py --source {params.source:q} {params.architecture} "
        "--threads {threads} --out {output:q} > {log:q} 2>&1"
