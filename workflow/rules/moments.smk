"""
Second moments of the keys of all edited layers, and the held-out text of the perplexity.

REQUIRED INPUTS: results/models/<model>/manifest.json
OUTPUTS: results/models/<model>/corpus/<corpus>/{heldout,windows<shard>}.h5
         results/models/<model>/corpus/<corpus>/layers<layers>/moments.h5
         results/<experiment>/<model>/null_space/<method>.csv, for AlphaEdit
"""


rule corpus:
    """One shard of the corpus as token windows; `heldout` is a shard that no moment sees."""
    input:
        model="results/models/{model}/manifest.json",
        text=lambda wildcards: (
            local_file(CORPUS["source"]["file"], "corpus.source.file")
            if "file" in CORPUS["source"]
            else []
        ),
    output:
        f"{CORPUS_FOLDER}/{{part}}.h5",
    log:
        f"results/logs/corpus/{{model}}.{CORPUS_LABEL}.{{part}}.log",
    benchmark:
        f"results/benchmarks/corpus/{{model}}.{CORPUS_LABEL}.{{part}}.tsv"
    wildcard_constraints:
        part=r"heldout|windows\d+",
    threads: config["threads"]
    resources:
        **resources_of("corpus"),
    params:
        code=code_of("mose/statistics/corpus.py"),
        options=as_json(CORPUS),
        compute=COMPUTE,
    shell:
        "python scripts/make_corpus.py --model {input.model:q} {params.compute} {threads} "
        "--options {params.options:q} --part {wildcards.part} --out {output:q} > {log:q} 2>&1"


rule second_moments:
    """Sum k k^T of every edited layer over one shard, in one pass."""
    input:
        model="results/models/{model}/manifest.json",
        windows=f"{CORPUS_FOLDER}/windows{{shard}}.h5",
    output:
        f"{MOMENTS}/shard{{shard}}.h5",
    log:
        f"results/logs/moments/{{model}}.{CORPUS_LABEL}.{{layers}}.{{shard}}.log",
    benchmark:
        f"results/benchmarks/moments/{{model}}.{CORPUS_LABEL}.{{layers}}.{{shard}}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("second_moments"),
    params:
        code=code_of("mose/statistics/second_moments.py"),
        shards=CORPUS["shards"],
        first="--include-first" if CORPUS["include_first"] else "",
        compute=COMPUTE,
    shell:
        "python scripts/second_moments.py --model {input.model:q} {params.compute} {threads} "
        "--windows {input.windows:q} --layers {wildcards.layers} {params.first} "
        "--shard {wildcards.shard} --shards {params.shards} --out {output:q} > {log:q} 2>&1"


rule add_second_moments:
    """Add the shards."""
    input:
        expand(
            f"{MOMENTS}/shard{{shard}}.h5",
            shard=range(CORPUS["shards"]),
            allow_missing=True,
        ),
    output:
        f"{MOMENTS}/moments.h5",
    log:
        f"results/logs/moments/{{model}}.{CORPUS_LABEL}.{{layers}}.log",
    benchmark:
        f"results/benchmarks/moments/{{model}}.{CORPUS_LABEL}.{{layers}}.tsv"
    resources:
        **resources_of("add_second_moments"),
    shell:
        "python scripts/add_moments.py --out {output:q} {input:q} > {log:q} 2>&1"


rule null_space:
    """How large AlphaEdit's null space is, and what of the keys' energy falls into it."""
    input:
        model="results/models/{model}/manifest.json",
        moments=moments_of,
        heldout=f"{CORPUS_FOLDER}/heldout.h5",
    output:
        "results/{experiment}/{model}/null_space/{method}.csv",
    log:
        "results/logs/null_space/{experiment}.{model}.{method}.log",
    benchmark:
        "results/benchmarks/null_space/{experiment}.{model}.{method}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("null_space"),
    params:
        code=code_of("mose/evaluation/null_space.py"),
        variant=variant_json,
        compute=COMPUTE,
    shell:
        "python scripts/null_space.py --model {input.model:q} {params.compute} {threads} "
        "--variant {params.variant:q} --moments {input.moments:q} --heldout {input.heldout:q} "
        "--out {output:q} > {log:q} 2>&1"


def null_space_files():
    """For every variant that edits in the null space, under whatever wrapper."""
    return [
        f"results/{EXPERIMENT}/{model}/null_space/{method}.csv"
        for model, made in MODELS.items()
        for method, variant in made.variants.items()
        if "mose/methods/alphaedit.py" in files_of(variant)
    ]
