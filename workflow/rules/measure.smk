"""
Measurements at every checkpoint: the edited matrices (loads no model), scores and perplexity.

REQUIRED INPUTS: a checkpoint and the other inputs of its run; the held-out text
OUTPUTS: .../<method>/seed<seed>/{stability,scores,perplexity}<n>.csv beside each checkpoint
         results/<experiment>/<model>/<dataset>/unedited/seed<seed>/scores<n>.csv
         results/<experiment>/<model>/unedited/perplexity.csv
"""

# By default no text is generated (it costs one pass per token), and none is put before prompts.
GENERATION_OPTIONS = (
    f" --generate {config['measure']['generate']}"
    f" --generated-tokens {config['measure']['generated_tokens']}"
    f" --fluency {config['measure']['fluency']}"
    f" --fluency-tokens {config['measure']['fluency_tokens']}"
    f" --prefixed {config['measure']['prefixed']}"
    f" --prefix-tokens {config['measure']['prefix_tokens']}"
)


def earlier_option(wildcards):
    """Option for the number of requests scored from earlier segments; none given: all."""
    count = config["measure"]["earlier"]
    begin = int(wildcards.n) - EDITS["checkpoint"]
    return "" if count is None else f"--earlier {count} --recent-from {begin}"


rule stability:
    """Measure norms, spectrum and orthogonality of the edited matrices at one checkpoint."""
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
        variant=variant_json,
        code=code_of(
            "mose/editing/chain.py",
            "mose/evaluation/stability.py",
            "mose/models/loading.py",
        ),
    shell:
        "python {PROGRAMS:q}/stability.py"
        " --model {input.model:q}"
        f" --dtype {config['dtype']}"
        " --threads {threads}" + CHAIN_OPTIONS + " --checkpoint {input.checkpoint:q}"
        " --out {output:q} > {log:q} 2>&1"


rule measure:
    """Score all requests so far at one checkpoint (retention), and measure perplexity."""
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
        variant=variant_json,
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
    """Score the requests of one segment on the unedited model (checkpoint 0 of the curves)."""
    input:
        model=paths.manifest,
        requests=paths.requests,
        heldout=paths.heldout if config["measure"]["prefixed"] else [],
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
        code=code_of(
            "mose/evaluation/measurement.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
        first=lambda wildcards: int(wildcards.n) - EDITS["checkpoint"],
        heldout=lambda wildcards, input: (
            f"--heldout {input.heldout}" if input.heldout else ""
        ),
    shell:
        "python {PROGRAMS:q}/measure.py"
        + MODEL_OPTIONS
        + GENERATION_OPTIONS
        + " --requests {input.requests:q}"
        " --first {params.first}"
        " --last {wildcards.n}"
        " {params.heldout}"
        " --scores {output:q} > {log:q} 2>&1"


rule perplexity_unedited:
    """Measure the perplexity of the unedited model."""
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
        code=code_of("mose/evaluation/measurement.py", "mose/models/loading.py"),
    shell:
        "python {PROGRAMS:q}/measure.py"
        + MODEL_OPTIONS
        + " --heldout {input.heldout:q}"
        " --perplexity {output:q} > {log:q} 2>&1"
