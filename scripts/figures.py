"""Draw the figures of an experiment from its tables."""

import argparse
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment.runs import Runs
    from mose.report import tables
    from mose.report.figures import drawing, gallery

    runs = Runs.parse(args.runs)
    paths = runs.paths.so_far() if args.so_far else runs.paths
    frames = {name: tables.read(paths.at(table=name).table) for name in gallery.TABLES}
    # The rule declares these folders as output, even if there is no portability to draw.
    for model in runs.models:
        for dataset in runs.datasets:
            folder = paths.at(model=model, dataset=dataset).portability_figures
            Path(folder).mkdir(parents=True, exist_ok=True)
    for one in gallery.figures(frames, runs.models, runs.datasets, runs.methods, runs.checkpoints):
        at = paths.at(model=one.model, dataset=one.dataset, figure=one.name)
        drawing.save(one.figure, at.figure_stem)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    parser.add_argument(
        "--so-far", action="store_true", help="read tables from and write figures to so_far/"
    )
    programs.run(program, parser)
