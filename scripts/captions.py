"""Write the captions of an experiment's tables and figures, one file per caption."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment.paths import Paths
    from mose.report import catalog
    from mose.storage import files

    paths = Paths(experiment=args.experiment)
    for name, caption in catalog.captions().items():
        files.write_text(paths.at(entry=name).caption, f"{caption}\n")


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    programs.run(program, parser)
