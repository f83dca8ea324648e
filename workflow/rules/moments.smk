"""
Second moments of the keys of all edited layers, and the held-out text for perplexity.

REQUIRED INPUTS: results/models/<model>/manifest.json
OUTPUTS: results/models/<model>/corpus/<corpus>/{heldout,windows<shard>}.h5
         results/models/<model>/corpus/<corpus>/layers<layers>/{shard<shard>,moments}.h5
         results/<experiment>/<model>/null_space/<method>.csv, for AlphaEdit
"""


def corpus_file(wildcards):
    """The user's text, if the corpus is a file."""
    if "file" in CORPUS["source"]:
        return local_file(CORPUS["source"]["file"], "corpus.source.file")
    return []


def moments_of(wildcards):
    """Second moments for the runs of a method on a model."""
    return moments_with(
        wildcards.model, tuple(sorted(variant_of(wildcards).edit.layers))
    )


@cache
def moments_with(model, layers):
    """The oldest file that holds these layers; if there is none, one of all that are edited.

    A method of another layer that is added to an experiment needs a further file. With the oldest,
    methods that have run keep theirs, and their chains.
    """
    at = paths.at(model=model)
    folder, _, name = at.moments.partition("layers{layers}")
    # Folders of other names, such as one that was put aside, do not count.
    named = re.compile(r"layers(\d+(?:-\d+)?(?:_\d+(?:-\d+)?)*)")
    existing = [
        path
        for path in Path(folder).glob(f"layers*{name}")
        if (match := named.fullmatch(path.parent.name))
        and set(layers) <= set(numbers_of(match[1]))
    ]
    if not existing:
        return at.at(layers=spans(MODELS[model].layers)).moments
    return str(min(existing, key=lambda path: (path.stat().st_mtime, path.name)))


rule corpus:
    """Write one shard of the corpus, or the held-out text, as token windows."""
    input:
        model=paths.manifest,
        text=corpus_file,
    output:
        paths.corpus_part,
    log:
        paths.log("corpus"),
    benchmark:
        paths.benchmark("corpus")
    wildcard_constraints:
        part=r"heldout|windows\d+",
    threads: config["threads"]
    resources:
        **resources_of("corpus"),
    params:
        code=code_of("mose/models/loading.py", "mose/statistics/corpus.py"),
        options=as_json(CORPUS),
    shell:
        "python {PROGRAMS:q}/make_corpus.py"
        + MODEL_OPTIONS
        + " --options {params.options:q}"
        " --part {wildcards.part}"
        " --out {output:q} > {log:q} 2>&1"


rule second_moments:
    """Sum k k^T of every edited layer over one shard of the corpus, in one pass."""
    input:
        model=paths.manifest,
        windows=paths.windows,
    output:
        paths.moments_shard,
    log:
        paths.log("second_moments"),
    benchmark:
        paths.benchmark("second_moments")
    threads: config["threads"]
    resources:
        **resources_of("second_moments"),
    params:
        code=code_of("mose/models/loading.py", "mose/statistics/second_moments.py"),
        shards=CORPUS["shards"],
        first="--include-first" if CORPUS["include_first"] else "",
    shell:
        "python {PROGRAMS:q}/second_moments.py"
        + MODEL_OPTIONS
        + " --windows {input.windows:q}"
        " --layers {wildcards.layers}"
        " {params.first}"
        " --shard {wildcards.shard}"
        " --shards {params.shards}"
        " --out {output:q} > {log:q} 2>&1"


rule add_second_moments:
    """Add the shards of one corpus."""
    input:
        expand(paths.moments_shard, shard=range(CORPUS["shards"]), allow_missing=True),
    output:
        paths.moments,
    log:
        paths.log("add_second_moments"),
    benchmark:
        paths.benchmark("add_second_moments")
    resources:
        **resources_of("add_second_moments"),
    params:
        code=code_of("mose/statistics/second_moments.py"),
    shell:
        "python {PROGRAMS:q}/add_moments.py"
        " --out {output:q}"
        " {input:q} > {log:q} 2>&1"


rule null_space:
    """Measure the rank of AlphaEdit's null space and the share of the keys' energy in it."""
    input:
        model=paths.manifest,
        moments=moments_of,
        heldout=paths.heldout,
    output:
        reported(
            paths.null_space,
            "table",
            catalog.NULL_SPACE,
            model="{model}",
            about=", {method}",
        ),
    log:
        paths.log("null_space"),
    benchmark:
        paths.benchmark("null_space")
    threads: config["threads"]
    resources:
        **resources_of("null_space"),
    params:
        code=code_of(
            "mose/evaluation/null_space.py",
            "mose/models/loading.py",
            "mose/statistics/second_moments.py",
        ),
        variant=variant_json,
    shell:
        "python {PROGRAMS:q}/null_space.py"
        + MODEL_OPTIONS
        + " --variant {params.variant:q}"
        " --moments {input.moments:q}"
        " --heldout {input.heldout:q}"
        " --out {output:q} > {log:q} 2>&1"


def null_space_files():
    """One file per variant that uses AlphaEdit, wrapped or not."""
    return [
        paths.at(model=name, method=label).null_space
        for name, model in MODELS.items()
        for label, variant in model.variants.items()
        if "mose/methods/alphaedit.py" in files_of(variant)
    ]
