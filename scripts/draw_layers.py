"""Draw the layer scores that choose_layers.py wrote."""

import argparse
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.report import tables
    from mose.report.figures import drawing, overview

    figure = overview.layer_scores(tables.read(args.scores))
    drawing.save(figure, Path(args.out).with_suffix(""))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--scores", required=True, help="CSV of choose_layers.py")
    parser.add_argument("--out", required=True, help="PDF to write; a PNG is written beside it")
    programs.run(program, parser)
