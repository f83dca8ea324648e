"""
Tables and figures, from CSV files and checkpoint records; no model, no torch.

REQUIRED INPUTS: all scores, perplexities, stabilities and checkpoints of the experiment
OUTPUTS: results/<experiment>/{summary,summary_intervals,metrics,...}.csv, summary.{txt,tex}
         results/<experiment>/figures/<model>/<dataset>/<figure>.{pdf,png}
         results/<experiment>/figures/<model>/<dataset>/portability/by_kind.{pdf,png}, if any
         results/<experiment>/so_far/, the same of what is finished, where asked for
"""

TABLES = [
    "summary",
    "summary_intervals",
    "means",
    "protocols",
    "immediate",
    "retention_matrix",
    "forgetting_curves",
    "metrics",
    "stability",
    "perplexity",
    "requests",
]
FIGURES = {
    "shares": "Reliability, generalization and locality against the number of edits.",
    "success": "Efficacy, paraphrase and neighborhood success against the number of edits.",
    "stability": "Frobenius norm and condition number, relative to the unedited matrix.",
    "perplexity": "Perplexity on held-out text.",
    "attained": "Attained fraction of the residual.",
    "forgetting": "Each request right after its batch, and at the last checkpoint.",
    "retention": "Reliability by batch of origin and checkpoint.",
}
if len(CHECKPOINTS) > 1:
    FIGURES["forgetting_curves"] = "Scores against the number of edits made since."


TABLE_FILES = expand(f"{RESULTS}/{{table}}.csv", table=TABLES)


def unedited_scores(wildcards):
    return expand(
        "results/{experiment}/{model}/{dataset}/unedited/seed{seed}/scores{n}.csv",
        experiment=EXPERIMENT,
        model=MODELS,
        dataset=config["datasets"],
        seed=config["seeds"],
        n=CHECKPOINTS,
    )


def plan():
    """What the experiment consists of, in the config's order."""
    return as_json(
        {
            "experiment": EXPERIMENT,
            "models": list(MODELS),
            "datasets": list(config["datasets"]),
            "methods": METHODS,
            "seeds": config["seeds"],
            "checkpoints": CHECKPOINTS,
            "batch": EDITS["batch"],
            "consistency": config["measure"]["consistency"],
        }
    )


def reference_files():
    """The requests, where their reference texts are compared with what the models write."""
    if not config["measure"]["consistency"]:
        return []
    return expand(
        "results/{experiment}/{model}/{dataset}/seed{seed}/requests.jsonl",
        experiment=EXPERIMENT,
        model=MODELS,
        dataset=config["datasets"],
        seed=config["seeds"],
    )


def figure_files(*kinds):
    return expand(
        f"{RESULTS}/figures/{{model}}/{{dataset}}/{{figure}}.{{kind}}",
        model=MODELS,
        dataset=config["datasets"],
        figure=FIGURES,
        kind=kinds,
    )


rule tables:
    """Gather all measurements; the summary has one row per method, seed and checkpoint."""
    input:
        checkpoints=run_files(f"{RUN}/edits{{n}}.h5"),
        immediate=run_files(f"{RUN}/immediate{{n}}.csv"),
        scores=run_files(f"{RUN}/scores{{n}}.csv"),
        perplexity=run_files(f"{RUN}/perplexity{{n}}.csv"),
        stability=run_files(f"{RUN}/stability{{n}}.csv"),
        unedited=unedited_scores,
        unedited_perplexity=expand(
            "results/{experiment}/{model}/unedited/perplexity.csv",
            experiment=EXPERIMENT,
            model=MODELS,
        ),
        references=reference_files(),
    output:
        TABLE_FILES,
        f"{RESULTS}/summary.txt",
        f"{RESULTS}/summary.tex",
    log:
        f"results/logs/tables/{EXPERIMENT}.log",
    benchmark:
        f"results/benchmarks/tables/{EXPERIMENT}.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/report/tables.py",
            "mose/report/intervals.py",
            "mose/report/retention.py",
            "mose/report/latex.py",
        ),
        plan=plan(),
    shell:
        f"python scripts/tables.py --plan {{params.plan:q}} --out {RESULTS} > {{log:q}} 2>&1"


rule figures:
    """Draw the figures, all methods in each."""
    input:
        TABLE_FILES,
    output:
        figure_files("pdf"),
        report(
            figure_files("png"),
            caption="../report/figure.rst",
            category="Figures",
        ),
        # Empty where the data set has no portability prompts.
        report(
            directory(
                expand(
                    f"{RESULTS}/figures/{{model}}/{{dataset}}/portability",
                    model=MODELS,
                    dataset=config["datasets"],
                )
            ),
            patterns=["{name}.png"],
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        f"results/logs/figures/{EXPERIMENT}.log",
    benchmark:
        f"results/benchmarks/figures/{EXPERIMENT}.tsv"
    resources:
        **LIGHT_RESOURCES,
    params:
        code=code_of(
            "mose/report/figures/overview.py",
            "mose/report/figures/details.py",
            "mose/report/retention.py",
        ),
        plan=plan(),
    shell:
        f"python scripts/figures.py --plan {{params.plan:q}} --tables {RESULTS} > {{log:q}} 2>&1"


rule so_far:
    """
    Tables and figures of the checkpoints that are measured, in results/<experiment>/so_far/, while
    others are still to be made. It has no files of its own in the plan: it can always be asked for.
    """
    log:
        f"results/logs/so_far/{EXPERIMENT}.log",
    resources:
        **LIGHT_RESOURCES,
    params:
        plan=plan(),
        folder=f"{RESULTS}/so_far",
    shell:
        "(python scripts/tables.py --plan {params.plan:q} --finished --out {params.folder:q} && "
        "python scripts/figures.py --plan {params.plan:q} --tables {params.folder:q}) > {log:q} 2>&1"
