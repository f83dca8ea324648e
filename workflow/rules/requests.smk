"""
Facts, edit requests in a fixed order, and context templates.

REQUIRED INPUTS: a data set (built in, a file, or of the hub), results/models/<model>/manifest.json
OUTPUTS: results/<experiment>/<model>/<dataset>/facts.jsonl, facts_report.json
         results/<experiment>/<model>/<dataset>/seed<seed>/requests.jsonl, requests_report.json
         results/<experiment>/<model>/<dataset>/seed<seed>/enough_requests<n>.txt
         results/<experiment>/<model>/templates/seed<seed>.json
"""

BUILTIN_FACTS = ["mose/data/facts.csv", "mose/data/relations.yaml"]
CONSISTENCY = config["measure"]["consistency"]


def dataset_option(key):
    """A params function: one key of the data set's block."""
    return lambda wildcards: DATASETS[wildcards.dataset][key]


def dataset_file(wildcards):
    """The user's file of a data set, if its source is a file."""
    source = DATASETS[wildcards.dataset]["source"]
    if isinstance(source, dict) or source == "builtin":
        return []
    return local_file(source, f"datasets.{wildcards.dataset}.source")


def builtin_facts(wildcards):
    """A params function: digests of the built-in facts, if the data set is built in."""
    source = DATASETS[wildcards.dataset]["source"]
    return data_of(*BUILTIN_FACTS) if source == "builtin" else []


def source_text(wildcards):
    """A params function: the source as an option (a word, a path, or JSON)."""
    source = DATASETS[wildcards.dataset]["source"]
    return as_json(source) if isinstance(source, dict) else source


def form_option(wildcards):
    """A params function: the option for the form of the records, if the config states it."""
    form = DATASETS[wildcards.dataset].get("form")
    return "" if form is None else f"--form {form}"


def references_option(wildcards):
    """A params function: the option to refuse a data set without reference texts."""
    return Unrecorded("--references" if CONSISTENCY else "")


rule facts:
    """Read the facts of a data set, report refused records, mark facts that the model knows."""
    input:
        model=paths.manifest,
        data=dataset_file,
    output:
        facts=paths.facts,
        report=paths.facts_report,
    log:
        paths.log("facts"),
    benchmark:
        paths.benchmark("facts")
    threads: config["threads"]
    resources:
        **resources_of("facts"),
    params:
        code=code_of(
            "mose/evaluation/knowledge.py",
            "mose/facts/readers.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
        builtin=builtin_facts,
        source=source_text,
        form=form_option,
        columns=lambda wildcards: as_json(
            DATASETS[wildcards.dataset].get("columns", {})
        ),
        conflicts=dataset_option("conflicts"),
        ask=lambda wildcards: (
            "--ask-model" if DATASETS[wildcards.dataset]["known_only"] else ""
        ),
        references=references_option,
    shell:
        "python {PROGRAMS:q}/read_facts.py"
        + MODEL_OPTIONS
        + " --source {params.source:q}"
        " {params.form}"
        " --columns {params.columns:q}"
        " --conflicts {params.conflicts}"
        " {params.ask}"
        " {params.references}"
        " --out {output.facts:q}"
        " --report {output.report:q} > {log:q} 2>&1"


rule requests:
    """Draw the requests of one seed, in an order that does not depend on `edits.total`."""
    input:
        facts=paths.facts,
    output:
        requests=paths.requests,
        report=paths.requests_report,
    log:
        paths.log("requests"),
    benchmark:
        paths.benchmark("requests")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/facts/conflicts.py",
            "mose/facts/drawing.py",
            "mose/facts/requests.py",
        ),
        # Segments, and so the places of conflicting requests, do not depend on edits.total.
        conflicts=(
            f"--conflicts {EDITS['conflicts']} --apart {EDITS['checkpoint']}"
            if EDITS["conflicts"]
            else ""
        ),
        known=lambda wildcards: (
            "--known-only" if DATASETS[wildcards.dataset]["known_only"] else ""
        ),
        neighbours=dataset_option("neighbours"),
        held_out=dataset_option("held_out"),
        part=dataset_option("part"),
    shell:
        "python {PROGRAMS:q}/make_requests.py"
        " --facts {input.facts:q}"
        " --seed {wildcards.seed}"
        " {params.known}"
        " --neighbours {params.neighbours}"
        " --held-out {params.held_out}"
        " --part {params.part}"
        " {params.conflicts}"
        " --out {output.requests:q}"
        " --report {output.report:q} > {log:q} 2>&1"


# Facts that were read without being asked for reference texts are asked here.
REFERENCES_CODE = ["mose/facts/readers.py"] if CONSISTENCY else []
REFERENCES_OPTIONS = (
    " --facts {input.facts:q} --dataset {wildcards.dataset}" if CONSISTENCY else ""
)


rule enough_requests:
    """Stop the run early for fewer requests than `edits.total`, or without reference texts."""
    input:
        requests=paths.requests,
        report=paths.requests_report,
        facts=paths.facts_report if CONSISTENCY else [],
    output:
        paths.enough_requests,
    log:
        paths.log("enough_requests"),
    benchmark:
        paths.benchmark("enough_requests")
    priority: 1
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/facts/drawing.py", "mose/facts/requests.py", *REFERENCES_CODE
        ),
    shell:
        "python {PROGRAMS:q}/check_requests.py"
        " --requests {input.requests:q}"
        " --report {input.report:q}"
        " --at-least {wildcards.n}"
        + REFERENCES_OPTIONS
        + " --out {output:q} > {log:q} 2>&1"


def enough_requests_files():
    """One file per model, data set and seed."""
    return expand(
        paths.enough_requests,
        model=MODELS,
        dataset=DATASETS,
        seed=SEEDS,
        n=EDITS["total"],
    )


rule templates:
    """Sample the context templates of one seed from the model."""
    input:
        model=paths.manifest,
    output:
        paths.templates,
    log:
        paths.log("templates"),
    benchmark:
        paths.benchmark("templates")
    threads: config["threads"]
    resources:
        **resources_of("templates"),
    params:
        code=code_of("mose/models/loading.py", "mose/statistics/templates.py"),
        length=config["templates"]["length"],
        per_starter=config["templates"]["per_starter"],
    shell:
        "python {PROGRAMS:q}/make_templates.py"
        + MODEL_OPTIONS
        + " --seed {wildcards.seed}"
        " --length {params.length}"
        " --per-starter {params.per_starter}"
        " --out {output:q} > {log:q} 2>&1"
