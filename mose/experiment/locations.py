"""Where the project's own files are: the package, its checkout, and files of config/."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# The folder that holds the package: names such as "mose/linalg/gram.py" are relative to it.
CODE = PACKAGE.parent


def find(name: str | Path, beside: str | Path) -> Path:
    """A file that a configuration names: in the working directory, else beside the workflow.

    name: as "config/models/gpt2-xl.yaml". beside: the folder of the Snakefile.
    Returns the path in the working directory where neither is there, for the error to name it.
    """
    own, shipped = Path(name), Path(beside) / name
    return shipped if shipped.is_file() and not own.exists() else own
