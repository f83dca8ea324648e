"""
The sequential chain: each checkpoint is made from the one before it.

REQUIRED INPUTS: manifest.json, moments.h5, requests.jsonl, templates, the previous checkpoint
OUTPUTS: results/<experiment>/<model>/<dataset>/<method>/seed<seed>/edits<n>.h5
         .../immediate<n>.csv, scores of each batch right after it was written
"""

RUN = "results/{experiment}/{model}/{dataset}/{method}/seed{seed}"


def previous_checkpoint(wildcards):
    """The checkpoint that edits<n> goes on from; nothing before the first."""
    n = int(wildcards.n) - EDITS["checkpoint"]
    return f"{RUN}/edits{n}.h5".format(**wildcards) if n > 0 else []


rule edit:
    """Write the requests of one segment, batch after batch."""
    input:
        model="results/models/{model}/manifest.json",
        moments=moments_of,
        requests="results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
        templates="results/{experiment}/{model}/templates/seed{seed}.json",
        previous=previous_checkpoint,
    output:
        checkpoint=f"{RUN}/edits{{n}}.h5",
        immediate=f"{RUN}/immediate{{n}}.csv",
    log:
        "results/logs/edit/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.log",
    benchmark:
        "results/benchmarks/edit/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("edit"),
    params:
        code=lambda wildcards: code_of(
            "mose/editing/sequence.py", *files_of(variant_of(wildcards))
        ),
        variant=variant_json,
        previous=lambda wildcards, input: (
            f"--previous {input.previous}" if input.previous else ""
        ),
        batch=EDITS["batch"],
        compute=COMPUTE,
    shell:
        "python scripts/edit.py --model {input.model:q} {params.compute} {threads} "
        "--variant {params.variant:q} --moments {input.moments:q} --requests {input.requests:q} "
        "--templates {input.templates:q} --seed {wildcards.seed} --batch {params.batch} "
        "{params.previous} --last {wildcards.n} --out {output.checkpoint:q} "
        "--immediate {output.immediate:q} > {log:q} 2>&1"
