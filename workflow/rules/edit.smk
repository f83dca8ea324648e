"""
The chain of checkpoints of each run: each continues from the previous one.

REQUIRED INPUTS: manifest.json, moments.h5, requests.jsonl, templates, the previous checkpoint
OUTPUTS: results/<experiment>/<model>/<dataset>/<method>/seed<seed>/edits<n>.h5
         .../immediate<n>.csv, scores of each batch right after its edit
"""


def previous_checkpoint(wildcards):
    """The checkpoint that edits<n> continues from; the first segment has none."""
    n = int(wildcards.n) - EDITS["checkpoint"]
    return paths.at(**{**wildcards, "n": n}).checkpoint if n > 0 else []


# Inputs and parameters of all rules that write or read a checkpoint, and the programs' options for
# them.
CHAIN_INPUT = {
    "model": paths.manifest,
    "moments": moments_of,
    "requests": paths.requests,
    "templates": paths.templates,
}
CHAIN_PARAMS = {
    "variant": variant_json,
    "batch": EDITS["batch"],
}
CHAIN_OPTIONS = (
    " --variant {params.variant:q}"
    " --moments {input.moments:q}"
    " --requests {input.requests:q}"
    " --templates {input.templates:q}"
    " --seed {wildcards.seed}"
    " --batch {params.batch}"
)


def edit_code(wildcards):
    """A params function: the code that all methods share, and the method's own files."""
    return code_of(
        "mose/editing/chain.py",
        "mose/editing/checkpoints.py",
        "mose/evaluation/segments.py",
        "mose/models/loading.py",
        *files_of(variant_of(wildcards)),
    )


rule edit:
    """Edit one segment, batch after batch; score each batch right after its edit."""
    input:
        **CHAIN_INPUT,
        previous=previous_checkpoint,
    output:
        checkpoint=paths.checkpoint,
        immediate=paths.immediate,
    log:
        paths.log("edit"),
    benchmark:
        paths.benchmark("edit")
    threads: config["threads"]
    resources:
        **resources_of("edit"),
    params:
        **CHAIN_PARAMS,
        **MODEL_PARAMS,
        code=edit_code,
        previous=lambda wildcards, input: (
            f"--previous {input.previous}" if input.previous else ""
        ),
    shell:
        "python {PROGRAMS:q}/edit.py"
        + MODEL_OPTIONS
        + CHAIN_OPTIONS
        + " {params.previous}"
        " --last {wildcards.n}"
        " --out {output.checkpoint:q}"
        " --immediate {output.immediate:q} > {log:q} 2>&1"
