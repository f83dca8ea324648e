"""Write docs/config.md and workflow/schemas/ from the library's models of a configuration."""

from pathlib import Path

from mose.cli import programs


def main(args):
    from mose.experiment import reference

    for path, text in reference.files().items():
        (Path(args.root) / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--root", default=".", help="the repository")
    programs.run(main, made)
