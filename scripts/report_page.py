"""Write an experiment's page: overview, figures with captions, tables to sort and search."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mose.cli import programs

QUESTION = (
    "What do sequential edits by these methods do to the facts that were edited, to what the model "
    "said of others, and to its weights?"
)


def program(args: argparse.Namespace) -> None:
    import pandas as pd
    import yaml

    import mose
    from mose.experiment import job_times
    from mose.experiment.runs import Runs
    from mose.report import html_page, tables
    from mose.report.figures import costs, drawing
    from mose.storage import files

    runs, settings = Runs.parse(args.runs), files.read_option(args.settings)
    config = settings["configuration"]
    read = {name: tables.read(runs.paths.at(table=name).table) for name in table_names(config)}
    methods = [
        (model, label, options.pop("method"), ", ".join(f"{k} {v}" for k, v in options.items()))
        for model, variants in settings["methods"].items()
        for label, options in variants.items()
    ]
    known = {
        **{"experiment": [runs.experiment], "model": runs.models, "dataset": runs.datasets},
        **{"method": runs.methods, "seed": runs.seeds, "n": runs.checkpoints},
        **{"corpus": [args.corpus], "task": list(config["tasks"])},
        **{"targets": settings["targets"]},
    }
    times = job_times.per_edit(known, config["edits"]["total"], runs.ends)
    _, png = drawing.save(costs.seconds_per_edit(times), runs.paths.times_figure)
    files.write_text(f"{runs.paths.times_figure}.csv", times.round(4).to_csv(index=False))
    overview = html_page.Overview(
        experiment=runs.experiment,
        question=config.get("question") or QUESTION,
        facts=list(facts(runs, config, mose.__version__)),
        methods=pd.DataFrame(methods, columns=["model", "label", "method", "options"]),
        configuration=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        stages=job_times.job_times(known),
        times=png.read_bytes(),
        summary=html_page.with_intervals(read["summary"], read["summary_intervals"]),
    )
    shown = list(content(runs, config, read))
    files.write_text(runs.paths.report_page, html_page.page(overview, shown))


def table_names(config: dict[str, Any]) -> list[str]:
    """The tables that the page shows. Those with a row per prompt may have millions of rows."""
    from mose.report import catalog

    entries = [*catalog.TABLES, *(catalog.TASK_TABLES if config["tasks"] else ())]
    return [entry.name for entry in entries if not entry.per_prompt]


def facts(runs: Any, config: dict[str, Any], version: str) -> Iterator[tuple[str, str]]:
    """What was edited, in what, and by which version."""
    from mose.storage import files

    edits = config["edits"]
    yield "edits", f"{edits['total']}, in batches of {edits['batch']}"
    yield "checkpoints", ", ".join(map(str, runs.checkpoints))
    yield "seeds", ", ".join(map(str, runs.seeds))
    for dataset in runs.datasets:
        yield f"data set {dataset}", str(config["datasets"][dataset]["source"])
    for model in runs.models:
        fingerprint = files.read_json(runs.paths.at(model=model).manifest)["fingerprint"]
        yield f"model {model}", f"fingerprint {fingerprint}"
    yield "mose", version


def content(runs: Any, config: dict[str, Any], read: dict[str, Any]) -> Iterator[Any]:
    """Figures, then tables, as the page shows them."""
    from mose.report import catalog, html_page

    drawn = [*catalog.figures(len(runs.checkpoints))]
    drawn += catalog.TASK_FIGURES if config["tasks"] else ()
    for entry in drawn:
        for model in runs.models:
            for dataset in runs.datasets:
                at = runs.paths.at(model=model, dataset=dataset, figure=entry.name, kind="png")
                about = f"{model}, {dataset}"
                yield html_page.Shown(entry, at.figure, Path(at.figure).read_bytes(), about)
    for model in runs.models:
        for dataset in runs.datasets:
            folder = Path(runs.paths.at(model=model, dataset=dataset).portability_figures)
            for path in sorted(folder.glob("*.png")):
                about = f"{model}, {dataset}"
                yield html_page.Shown(catalog.PORTABILITY, str(path), path.read_bytes(), about)
    for entry in (*catalog.TABLES, *catalog.TASK_TABLES):
        if entry.name in read:
            file = runs.paths.at(table=entry.name).table
            yield html_page.Shown(entry, file, read[entry.name])


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    parser.add_argument("--corpus", required=True, help="name of the corpus in results/models/")
    parser.add_argument(
        "--settings",
        required=True,
        help="configuration, options by model and label, shared targets, as JSON or a file",
    )
    programs.run(program, parser)
