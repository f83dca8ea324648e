"""
Facts, edit requests in their fixed order, and context templates.

REQUIRED INPUTS: a data set (built in, or a file), results/models/<model>/manifest.json
OUTPUTS: results/<experiment>/<model>/<dataset>/facts.jsonl
         results/<experiment>/<model>/<dataset>/seed<seed>/requests.jsonl
         results/<experiment>/<model>/templates/seed<seed>.json
"""


def dataset_file(wildcards):
    """The data set's files; none where it comes from the hub."""
    source = config["datasets"][wildcards.dataset]["source"]
    if isinstance(source, dict):
        return []
    if source == "builtin":
        return ["mose/data/facts.csv", "mose/data/relations.yaml"]
    return local_file(source, f"datasets.{wildcards.dataset}.source")


def source_text(wildcards):
    """The source as a program takes it: a word, a path, or JSON."""
    source = config["datasets"][wildcards.dataset]["source"]
    return as_json(source) if isinstance(source, dict) else source


rule facts:
    """Read the facts of a data set; say what was refused; ask the model what it knows."""
    input:
        model="results/models/{model}/manifest.json",
        data=dataset_file,
    output:
        facts="results/{experiment}/{model}/{dataset}/facts.jsonl",
        report="results/{experiment}/{model}/{dataset}/facts.json",
    log:
        "results/logs/facts/{experiment}.{model}.{dataset}.log",
    benchmark:
        "results/benchmarks/facts/{experiment}.{model}.{dataset}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("facts"),
    params:
        code=code_of("mose/facts/readers.py"),
        source=source_text,
        form=lambda wildcards: (
            f"--form {config['datasets'][wildcards.dataset]['form']}"
            if "form" in config["datasets"][wildcards.dataset]
            else ""
        ),
        columns=lambda wildcards: as_json(
            config["datasets"][wildcards.dataset].get("columns", {})
        ),
        conflicts=datasets_key("conflicts"),
        ask=lambda wildcards: (
            "--ask-model"
            if config["datasets"][wildcards.dataset]["known_only"]
            else ""
        ),
        references="--references" if config["measure"]["consistency"] else "",
        compute=COMPUTE,
    shell:
        "python scripts/read_facts.py --model {input.model:q} {params.compute} {threads} "
        "--source {params.source:q} {params.form} --columns {params.columns:q} "
        "--conflicts {params.conflicts} {params.ask} "
        "{params.references} "
        "--out {output.facts:q} "
        "--report {output.report:q} > {log:q} 2>&1"


rule requests:
    """Draw the requests of one seed, in an order that does not depend on how many are edited."""
    input:
        facts="results/{experiment}/{model}/{dataset}/facts.jsonl",
    output:
        requests="results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
        report="results/{experiment}/{model}/{dataset}/seed{seed}/requests.json",
    log:
        "results/logs/requests/{experiment}.{model}.{dataset}.{seed}.log",
    benchmark:
        "results/benchmarks/requests/{experiment}.{model}.{dataset}.{seed}.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/facts/requests.py"),
        known=lambda wildcards: (
            "--known-only"
            if config["datasets"][wildcards.dataset]["known_only"]
            else ""
        ),
        neighbours=datasets_key("neighbours"),
        held_out=datasets_key("held_out"),
        part=datasets_key("part"),
    shell:
        "python scripts/make_requests.py --facts {input.facts:q} --seed {wildcards.seed} "
        "{params.known} --neighbours {params.neighbours} --held-out {params.held_out} "
        "--part {params.part} --out {output.requests:q} --report {output.report:q} > {log:q} 2>&1"


rule enough_requests:
    """Refuse early to go on when there are fewer requests than edits are asked for."""
    input:
        requests="results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
        report="results/{experiment}/{model}/{dataset}/seed{seed}/requests.json",
    output:
        "results/{experiment}/{model}/{dataset}/seed{seed}/enough{n}",
    log:
        "results/logs/requests/{experiment}.{model}.{dataset}.{seed}.enough{n}.log",
    benchmark:
        "results/benchmarks/requests/{experiment}.{model}.{dataset}.{seed}.enough{n}.tsv"
    priority: 1
    resources:
        **LIGHT_RESOURCES,
    shell:
        "python scripts/check_requests.py --requests {input.requests:q} --report {input.report:q} "
        "--at-least {wildcards.n} --out {output:q} > {log:q} 2>&1"


def enough_requests_files():
    return expand(
        "results/{experiment}/{model}/{dataset}/seed{seed}/enough{n}",
        experiment=EXPERIMENT,
        model=MODELS,
        dataset=config["datasets"],
        seed=config["seeds"],
        n=EDITS["total"],
    )


rule templates:
    """Sample the context templates of one seed."""
    input:
        model="results/models/{model}/manifest.json",
    output:
        "results/{experiment}/{model}/templates/seed{seed}.json",
    log:
        "results/logs/templates/{experiment}.{model}.{seed}.log",
    benchmark:
        "results/benchmarks/templates/{experiment}.{model}.{seed}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("templates"),
    params:
        code=code_of("mose/models/sampling.py"),
        length=config["templates"]["length"],
        per_starter=config["templates"]["per_starter"],
        compute=COMPUTE,
    shell:
        "python scripts/make_templates.py --model {input.model:q} {params.compute} {threads} "
        "--seed {wildcards.seed} --length {params.length} --per-starter {params.per_starter} "
        "--out {output:q} > {log:q} 2>&1"
