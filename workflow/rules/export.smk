"""
Edited models to take home: the model of a checkpoint as a directory of transformers.

REQUIRED INPUTS: a checkpoint and the other inputs of its run
OUTPUTS: .../<method>/seed<seed>/exported<n>/
"""


rule exported:
    """Write the edited model of one checkpoint."""
    input:
        **CHAIN_INPUT,
        checkpoint=paths.checkpoint,
    output:
        directory(paths.exported),
    log:
        paths.log("exported"),
    benchmark:
        paths.benchmark("exported")
    threads: config["threads"]
    resources:
        **resources_of("exported"),
    params:
        variant=variant_json,
        code=code_of(
            "mose/editing/chain.py",
            "mose/editing/export.py",
            "mose/editing/in_context.py",
        ),
        settings=lambda wildcards: f"methods.{wildcards.method} of {EXPERIMENT}",
    shell:
        "python {PROGRAMS:q}/export.py"
        + MODEL_OPTIONS
        + CHAIN_OPTIONS
        + " --checkpoint {input.checkpoint:q}"
        " --last {wildcards.n}"
        " --name {wildcards.model:q}"
        " --settings {params.settings:q}"
        " --out {output:q} > {log:q} 2>&1"


def exported_models():
    """One directory per run, of its last checkpoint; none of methods that change no weights."""
    return [
        directory
        for label, end in ENDS.items()
        for name, model in MODELS.items()
        if model.variants[label].method != "in-context"
        for directory in expand(
            paths.at(model=name, method=label, n=end).exported,
            dataset=DATASETS,
            seed=SEEDS,
        )
    ]


rule export:
    """Write the edited models of all runs at the last checkpoint."""
    input:
        exported_models(),
