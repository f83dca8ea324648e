"""Write a page of results from its template and the tables in the template's folder."""

import argparse
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.report import pages
    from mose.storage import files

    template = Path(args.template)
    files.write_text(args.out, pages.render(template.read_text(), template.parent))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument(
        "--template", required=True, help="Markdown with directives (mose/report/pages.py)"
    )
    parser.add_argument("--out", required=True, help="Markdown to write")
    programs.run(program, parser)
