"""
Every model of the experiment as local files.

REQUIRED INPUTS: config/models/<model>.yaml
OUTPUTS: results/models/<model>/manifest.json (and weights/ beside it, for converted models)
"""


def architecture_option(wildcards):
    """A params function: where a model's file says that its edited projections are."""
    named = MODELS[wildcards.model].architecture
    return f"--architecture {shlex.quote(as_json(named))}" if named else ""


rule model:
    """Fetch and convert a model where that is needed, fingerprint it, check its partial passes.

    A changed pass is checked again: the code of models/causal_lm.py counts here as well.
    """
    output:
        paths.manifest,
    log:
        paths.log("model"),
    benchmark:
        paths.benchmark("model")
    threads: config["threads"]
    resources:
        **resources_of("model"),
    params:
        code=code_of("mose/models/architectures.py", "mose/models/sources.py"),
        source=lambda wildcards: as_json(MODELS[wildcards.model].source),
        architecture=architecture_option,
    shell:
        "python {PROGRAMS:q}/prepare_model.py"
        " --source {params.source:q}"
        " {params.architecture}"
        " --threads {threads}"
        " --out {output:q} > {log:q} 2>&1"
