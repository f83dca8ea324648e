"""
Models of the experiment as local files.

REQUIRED INPUTS: config/models/<model>.yaml
OUTPUTS: results/models/<model>/manifest.json, and weights/ for converted models
"""


def architecture_option(wildcards):
    """A params function: the `architecture` block of the model's file, as an option."""
    architecture = MODELS[wildcards.model].architecture
    return (
        f"--architecture {shlex.quote(as_json(architecture))}" if architecture else ""
    )


rule model:
    """Fetch, convert and fingerprint a model as needed, and check its partial passes.

    The code includes models/causal_lm.py, so a changed pass is checked again.
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
