"""Draw the figures of an experiment's downstream tasks from its table `abilities`."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment.runs import Runs
    from mose.report import tables
    from mose.report.figures import drawing, gallery

    runs = Runs.parse(args.runs)
    table = tables.read(runs.paths.at(table="abilities").table)
    for one in gallery.task_figures(table, runs.models, runs.datasets, runs.methods):
        at = runs.paths.at(model=one.model, dataset=one.dataset, figure=one.name)
        drawing.save(one.figure, at.figure_stem)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--runs", required=True, help="the runs of the experiment, as JSON or a file"
    )
    programs.run(program, parser)
