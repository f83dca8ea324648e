"""
The chain of checkpoints of each run: each continues from the previous one.

REQUIRED INPUTS: manifest.json, moments.h5, requests.jsonl, templates, the previous checkpoint
OUTPUTS: results/<experiment>/<model>/<dataset>/<method>/seed<seed>/edits<n>.h5
         .../immediate<n>.csv, scores of each batch right after its edit
         results/<experiment>/<model>/<dataset>/seed<seed>/targets/<targets>/targets<n>.h5, for
         methods with `targets_from: unedited`
"""


def previous_checkpoint(wildcards):
    """The checkpoint that edits<n> continues from; the first segment has none."""
    n = int(wildcards.n) - EDITS["checkpoint"]
    return paths.at(**{**wildcards, "n": n}).checkpoint if n > 0 else []


def targets_of(wildcards):
    """The segment's targets, for methods that seek them on the unedited model."""
    label = target_label(variant_of(wildcards))
    return paths.at(**wildcards, targets=label).targets if label else []


# Inputs of all rules that write or read a checkpoint, and the programs' options for them; the rules
# have the parameter `variant`.
CHAIN_INPUT = {
    "model": paths.manifest,
    "moments": moments_of,
    "requests": paths.requests,
    "templates": paths.templates,
}
CHAIN_OPTIONS = (
    " --variant {params.variant:q}"
    " --moments {input.moments:q}"
    " --requests {input.requests:q}"
    " --templates {input.templates:q}"
    " --seed {wildcards.seed}"
    f" --batch {EDITS['batch']}"
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


rule targets:
    """Find the targets of one segment on the unedited model, for all methods that share them."""
    input:
        model=paths.manifest,
        requests=paths.requests,
        templates=paths.templates,
    output:
        paths.targets,
    log:
        paths.log("targets"),
    benchmark:
        paths.benchmark("targets")
    threads: config["threads"]
    resources:
        **resources_of("targets"),
    params:
        code=code_of(
            "mose/editing/shared_targets.py",
            "mose/facts/drawing.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
        variant=lambda wildcards: MODELS[wildcards.model]
        .seekers[wildcards.targets]
        .as_json(),
        first=lambda wildcards: int(wildcards.n) - EDITS["checkpoint"],
    shell:
        "python {PROGRAMS:q}/find_targets.py"
        + MODEL_OPTIONS
        + " --variant {params.variant:q}"
        " --requests {input.requests:q}"
        " --templates {input.templates:q}"
        " --first {params.first}"
        " --last {wildcards.n}"
        f" --batch {EDITS['batch']}"
        " --out {output:q} > {log:q} 2>&1"


rule edit:
    """Edit one segment, batch after batch; score each batch right after its edit."""
    input:
        **CHAIN_INPUT,
        previous=previous_checkpoint,
        targets=targets_of,
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
        variant=variant_json,
        code=edit_code,
        previous=lambda wildcards, input: (
            f"--previous {input.previous}" if input.previous else ""
        ),
        targets=lambda wildcards, input: (
            f"--targets {input.targets}" if input.targets else ""
        ),
    shell:
        "python {PROGRAMS:q}/edit.py"
        + MODEL_OPTIONS
        + CHAIN_OPTIONS
        + " {params.previous} {params.targets}"
        f" --solve-on {config['solve_on']}"
        " --last {wildcards.n}"
        " --out {output.checkpoint:q}"
        " --immediate {output.immediate:q} > {log:q} 2>&1"
