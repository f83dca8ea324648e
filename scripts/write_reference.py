"""Generate docs/config.md and workflow/schemas/ from the configuration's models."""

import argparse
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.experiment import reference

    for path, text in reference.files().items():
        (Path(args.root) / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--root", default=".", help="folder of the repository")
    programs.run(program, parser)
