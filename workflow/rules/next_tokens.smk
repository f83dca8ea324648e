"""
What edits did to next-token distributions, beside the unedited model's: `snakemake next_tokens`.

REQUIRED INPUTS: a checkpoint and the other inputs of its run; the held-out text
OUTPUTS: .../<method>/seed<seed>/next_tokens<n>.csv beside each checkpoint
         results/<experiment>/next_tokens.csv
"""


rule next_tokens_of:
    """Compare one checkpoint with the unedited model, on neighbour prompts and held-out text."""
    input:
        **CHAIN_INPUT,
        checkpoint=paths.checkpoint,
        heldout=paths.heldout,
    output:
        paths.next_tokens,
    log:
        paths.log("next_tokens_of"),
    benchmark:
        paths.benchmark("next_tokens_of")
    threads: config["threads"]
    resources:
        **resources_of("next_tokens_of"),
    params:
        variant=variant_json,
        code=code_of(
            "mose/editing/chain.py",
            "mose/editing/sequence.py",
            "mose/evaluation/measurement.py",
            "mose/evaluation/next_tokens.py",
            "mose/models/loading.py",
            "mose/statistics/second_moments.py",
        ),
        earlier=earlier_option,
    shell:
        "python {PROGRAMS:q}/next_tokens.py"
        + MODEL_OPTIONS
        + CHAIN_OPTIONS
        + " --checkpoint {input.checkpoint:q}"
        " {params.earlier}"
        " --heldout {input.heldout:q}"
        " --out {output:q} > {log:q} 2>&1"


rule next_tokens:
    """The comparisons of all runs and checkpoints in one table."""
    input:
        expand_runs(paths.next_tokens),
    output:
        reported(paths.at(table="next_tokens").table, "table", catalog.NEXT_TOKENS),
    log:
        paths.log("next_tokens"),
    benchmark:
        paths.benchmark("next_tokens")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/experiment/gather.py", "mose/experiment/runs.py"),
        runs=runs_json(CHECKPOINTS),
    shell:
        "python {PROGRAMS:q}/gather_next_tokens.py"
        " --runs {params.runs:q}"
        " --out {output:q} > {log:q} 2>&1"
