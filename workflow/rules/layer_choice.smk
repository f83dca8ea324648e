"""
Choice of layers for rotations: scores of all layers, proposed layers, and a figure.

REQUIRED INPUTS: manifest.json, requests.jsonl of the first seed
OUTPUTS: results/<experiment>/<model>/<dataset>/layer_scores.csv
         results/<experiment>/figures/<model>/<dataset>/layer_scores.{pdf,png}
"""

LAYER_FIGURE = paths.at(figure="layer_scores")


rule layer_scores:
    """Score every layer on a sample of requests, in one forward and one backward pass."""
    input:
        model=paths.manifest,
        requests=paths.at(seed=SEEDS[0]).requests,
    output:
        paths.layer_scores,
    log:
        paths.log("layer_scores"),
    benchmark:
        paths.benchmark("layer_scores")
    threads: config["threads"]
    resources:
        **resources_of("layer_scores"),
    params:
        code=code_of(
            "mose/editing/layer_choice.py",
            "mose/facts/requests.py",
            "mose/models/loading.py",
        ),
    shell:
        "python {PROGRAMS:q}/choose_layers.py"
        + MODEL_OPTIONS
        + " --requests {input.requests:q}"
        " --out {output:q} > {log:q} 2>&1"


rule layer_figure:
    """Draw the scores and the proposed layers."""
    input:
        scores=paths.layer_scores,
    output:
        pdf=LAYER_FIGURE.at(kind="pdf").figure,
        png=reported(
            LAYER_FIGURE.at(kind="png").figure,
            "figure",
            catalog.LAYER_SCORES,
            model="{model}",
            dataset="{dataset}",
        ),
    log:
        paths.log("layer_figure"),
    benchmark:
        paths.benchmark("layer_figure")
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/report/figures/drawing.py",
            "mose/report/figures/overview.py",
            "mose/report/tables.py",
        ),
    shell:
        "python {PROGRAMS:q}/draw_layers.py"
        " --scores {input.scores:q}"
        " --out {output.pdf:q} > {log:q} 2>&1"


rule layer_choice:
    """Scores and figure for all models and data sets: `snakemake layer_choice`."""
    input:
        expand(LAYER_FIGURE.at(kind="pdf").figure, model=MODELS, dataset=DATASETS),
        rules.captions.output,
