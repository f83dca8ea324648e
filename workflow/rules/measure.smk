"""
What the edits did to the matrices (no model is loaded) and to what the model says (one load).

REQUIRED INPUTS: a checkpoint and all that its run depends on; the held-out text
OUTPUTS: .../<method>/seed<seed>/{stability,scores,perplexity}<n>.csv beside each checkpoint
         results/<experiment>/<model>/<dataset>/unedited/seed<seed>/scores<n>.csv
         results/<experiment>/<model>/unedited/perplexity.csv
"""

# Text is generated for no request unless the config asks for some: it costs a pass per token.
GENERATION_PARAMS = {
    "generate": config["measure"]["generate"],
    "generated_tokens": config["measure"]["generated_tokens"],
    "fluency": config["measure"]["fluency"],
    "fluency_tokens": config["measure"]["fluency_tokens"],
}
GENERATION_OPTIONS = (
    " --generate {params.generate}"
    " --generated-tokens {params.generated_tokens}"
    " --fluency {params.fluency}"
    " --fluency-tokens {params.fluency_tokens}"
)


def earlier_option(wildcards):
    """How many requests from before the checkpoint's own segment are scored; all without it."""
    count = config["measure"]["earlier"]
    begin = int(wildcards.n) - EDITS["checkpoint"]
    return "" if count is None else f"--earlier {count} --recent-from {begin}"


rule stability:
    """Norms, spectrum and orthogonality of the edited matrices at one checkpoint."""
    input:
        **CHAIN_INPUT,
        checkpoint=paths.checkpoint,
    output:
        paths.stability,
    log:
        paths.log("stability"),
    benchmark:
        paths.benchmark("stability")
    threads: config["threads"]
    resources:
        **resources_of("stability"),
    params:
        **CHAIN_PARAMS,
        code=code_of(
            "mose/editing/chain.py",
            "mose/evaluation/stability.py",
            "mose/models/loading.py",
        ),
        dtype=config["dtype"],
    shell:
        "python {PROGRAMS:q}/stability.py"
        " --model {input.model:q}"
        " --dtype {params.dtype}"
        " --threads {threads}" + CHAIN_OPTIONS + " --checkpoint {input.checkpoint:q}"
        " --out {output:q} > {log:q} 2>&1"


rule measure:
    """Score the requests so far at one checkpoint (retention), and the perplexity."""
    input:
        **CHAIN_INPUT,
        checkpoint=paths.checkpoint,
        heldout=paths.heldout,
    output:
        scores=paths.scores,
        perplexity=paths.perplexity,
    log:
        paths.log("measure"),
    benchmark:
        paths.benchmark("measure")
    threads: config["threads"]
    resources:
        **resources_of("measure"),
    params:
        **CHAIN_PARAMS,
        **GENERATION_PARAMS,
        **MODEL_PARAMS,
        code=code_of(
            "mose/editing/chain.py",
            "mose/evaluation/measurement.py",
            "mose/facts/requests.py",
        ),
        earlier=earlier_option,
    shell:
        "python {PROGRAMS:q}/measure.py"
        + MODEL_OPTIONS
        + CHAIN_OPTIONS
        + " --checkpoint {input.checkpoint:q}"
        + GENERATION_OPTIONS
        + " {params.earlier}"
        " --last {wildcards.n}"
        " --scores {output.scores:q}"
        " --heldout {input.heldout:q}"
        " --perplexity {output.perplexity:q} > {log:q} 2>&1"


rule measure_unedited:
    """Score the requests of one segment on the unedited model: checkpoint 0 of the curves."""
    input:
        model=paths.manifest,
        requests=paths.requests,
    output:
        paths.unedited_scores,
    log:
        paths.log("measure_unedited"),
    benchmark:
        paths.benchmark("measure_unedited")
    threads: config["threads"]
    resources:
        **resources_of("measure_unedited"),
    params:
        **GENERATION_PARAMS,
        **MODEL_PARAMS,
        code=code_of(
            "mose/evaluation/measurement.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
        first=lambda wildcards: int(wildcards.n) - EDITS["checkpoint"],
    shell:
        "python {PROGRAMS:q}/measure.py"
        + MODEL_OPTIONS
        + GENERATION_OPTIONS
        + " --requests {input.requests:q}"
        " --first {params.first}"
        " --last {wildcards.n}"
        " --scores {output:q} > {log:q} 2>&1"


rule perplexity_unedited:
    """Perplexity of the unedited model."""
    input:
        model=paths.manifest,
        heldout=paths.heldout,
    output:
        paths.unedited_perplexity,
    log:
        paths.log("perplexity_unedited"),
    benchmark:
        paths.benchmark("perplexity_unedited")
    threads: config["threads"]
    resources:
        **resources_of("perplexity_unedited"),
    params:
        **MODEL_PARAMS,
        code=code_of("mose/evaluation/measurement.py", "mose/models/loading.py"),
    shell:
        "python {PROGRAMS:q}/measure.py"
        + MODEL_OPTIONS
        + " --heldout {input.heldout:q}"
        " --perplexity {output:q} > {log:q} 2>&1"
