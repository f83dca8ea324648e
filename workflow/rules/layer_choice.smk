"""
Choosing layers for rotations: scores, a proposal, and a picture of them.

REQUIRED INPUTS: manifest.json, requests.jsonl of the first seed
OUTPUTS: results/<experiment>/<model>/<dataset>/layers.csv
         results/<experiment>/figures/<model>/<dataset>/layers.{pdf,png}
"""


rule layer_scores:
    """Score every layer on a sample of requests, in one forward and one backward pass."""
    input:
        model="results/models/{model}/manifest.json",
        requests=f"results/{{experiment}}/{{model}}/{{dataset}}/seed{config['seeds'][0]}/requests.jsonl",
    output:
        "results/{experiment}/{model}/{dataset}/layers.csv",
    log:
        "results/logs/layers/{experiment}.{model}.{dataset}.log",
    benchmark:
        "results/benchmarks/layers/{experiment}.{model}.{dataset}.tsv"
    threads: config["threads"]
    resources:
        **resources_of("layer_scores"),
    params:
        code=code_of("mose/editing/layer_choice.py"),
        compute=COMPUTE,
    shell:
        "python scripts/choose_layers.py --model {input.model:q} {params.compute} {threads} "
        "--requests {input.requests:q} --out {output:q} > {log:q} 2>&1"


rule layer_figure:
    """Draw the scores and the proposal."""
    input:
        scores="results/{experiment}/{model}/{dataset}/layers.csv",
    output:
        multiext(
            "results/{experiment}/figures/{model}/{dataset}/layers", ".pdf", ".png"
        ),
    log:
        "results/logs/layers/{experiment}.{model}.{dataset}.figure.log",
    benchmark:
        "results/benchmarks/layers/{experiment}.{model}.{dataset}.figure.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of("mose/report/figures/overview.py"),
    shell:
        "python scripts/draw_layers.py --scores {input.scores:q} --out {output[0]:q} > {log:q} 2>&1"


rule layer_choice:
    """Scores and picture for all models and data sets: `snakemake layer_choice`."""
    input:
        expand(
            "results/{experiment}/figures/{model}/{dataset}/layers.pdf",
            experiment=EXPERIMENT,
            model=MODELS,
            dataset=config["datasets"],
        ),
