"""
What the edits did: to the matrices (no model needed), and to what the model says (one load).

REQUIRED INPUTS: a checkpoint and what its chain was made from; the held-out text
OUTPUTS: .../seed<seed>/{stability,scores,perplexity}<n>.csv beside each checkpoint
         results/<experiment>/<model>/<dataset>/unedited/seed<seed>/{scores<n>,perplexity}.csv
"""

# What a checkpoint needs to be read again, and the options that say so to a program.
CHAIN = {
    "model": "results/models/{model}/manifest.json",
    "moments": moments_of,
    "requests": "results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
    "templates": "results/{experiment}/{model}/templates/seed{seed}.json",
    "checkpoint": f"{RUN}/edits{{n}}.h5",
}
CHAIN_OPTIONS = (
    "--model {input.model:q} --variant {params.variant:q} --moments {input.moments:q} "
    "--requests {input.requests:q} --templates {input.templates:q} --seed {wildcards.seed} "
    "--batch {params.batch} --checkpoint {input.checkpoint:q} "
)

# Generation costs a pass per token: none unless it is asked for.
GENERATE = " ".join(
    f"--{key.replace('_', '-')} {config['measure'][key]}"
    for key in ("generate", "generated_tokens", "fluency", "fluency_tokens")
)


def earlier(wildcards):
    """A params function: which of the requests before the checkpoint's own segment are scored."""
    count = config["measure"]["earlier"]
    begin = int(wildcards.n) - EDITS["checkpoint"]
    return "" if count is None else f"--earlier {count} --recent-from {begin}"


rule stability:
    """Norms, spectrum and orthogonality of the edited matrices at one checkpoint."""
    input:
        **CHAIN,
    output:
        f"{RUN}/stability{{n}}.csv",
    log:
        "results/logs/stability/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.log",
    benchmark:
        "results/benchmarks/stability/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("stability"),
    params:
        code=code_of("mose/evaluation/stability.py"),
        variant=variant_json,
        batch=EDITS["batch"],
        dtype=config["dtype"],
    shell:
        "python scripts/stability.py " + CHAIN_OPTIONS + "--dtype {params.dtype} "
        "--threads {threads} --out {output:q} > {log:q} 2>&1"


rule measure:
    """Score every request so far at one checkpoint (retention), and the perplexity."""
    input:
        **CHAIN,
        heldout=f"{CORPUS_FOLDER}/heldout.h5",
    output:
        scores=f"{RUN}/scores{{n}}.csv",
        perplexity=f"{RUN}/perplexity{{n}}.csv",
    log:
        "results/logs/measure/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.log",
    benchmark:
        "results/benchmarks/measure/{experiment}.{model}.{dataset}.{method}.{seed}.{n}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("measure"),
    params:
        code=code_of("mose/evaluation/prompt_scores.py"),
        variant=variant_json,
        batch=EDITS["batch"],
        compute=COMPUTE,
        generate=GENERATE,
        earlier=earlier,
    shell:
        "python scripts/measure.py " + CHAIN_OPTIONS + "{params.compute} {threads} "
        "{params.generate} {params.earlier} --last {wildcards.n} --heldout {input.heldout:q} --scores {output.scores:q} "
        "--perplexity {output.perplexity:q} > {log:q} 2>&1"


rule measure_unedited:
    """Score the requests of one segment on the unedited model: the curves' zero."""
    input:
        model="results/models/{model}/manifest.json",
        requests="results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
    output:
        "results/{experiment}/{model}/{dataset}/unedited/seed{seed}/scores{n}.csv",
    log:
        "results/logs/measure/{experiment}.{model}.{dataset}.unedited.{seed}.{n}.log",
    benchmark:
        "results/benchmarks/measure/{experiment}.{model}.{dataset}.unedited.{seed}.{n}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("measure_unedited"),
    params:
        code=code_of("mose/evaluation/prompt_scores.py"),
        first=lambda wildcards: int(wildcards.n) - EDITS["checkpoint"],
        compute=COMPUTE,
        generate=GENERATE,
    shell:
        "python scripts/measure.py --model {input.model:q} {params.compute} {threads} "
        "{params.generate} --requests {input.requests:q} --first {params.first} --last {wildcards.n} "
        "--scores {output:q} > {log:q} 2>&1"


rule perplexity_unedited:
    """Perplexity of the unedited model."""
    input:
        model="results/models/{model}/manifest.json",
        heldout=f"{CORPUS_FOLDER}/heldout.h5",
    output:
        "results/{experiment}/{model}/unedited/perplexity.csv",
    log:
        "results/logs/measure/{experiment}.{model}.unedited.log",
    benchmark:
        "results/benchmarks/measure/{experiment}.{model}.unedited.tsv"
    threads: config["threads"]
    resources:
        **resources_of("perplexity_unedited"),
    params:
        code=code_of("mose/evaluation/prompt_scores.py"),
        compute=COMPUTE,
    shell:
        "python scripts/measure.py --model {input.model:q} {params.compute} {threads} "
        "--heldout {input.heldout:q} --perplexity {output:q} > {log:q} 2>&1"
