"""Where the project's own files are: the package, the workflow, and files of config/."""

from pathlib import Path

from mose.errors import StoreError

# The folder that `mose/` lies in: the repository, or site-packages. Names such as
# "mose/linalg/gram.py" are relative to it.
CODE = Path(__file__).parents[2]


def workflow_folder() -> Path:
    """The folder of Snakefile, workflow/, scripts/, config/ and profiles/.

    In a checkout it is beside the library. A wheel holds it as mose/_workflow/ (pyproject.toml,
    force-include). Raises StoreError where neither place has it.
    """
    places = (CODE / "mose" / "_workflow", CODE)
    for place in places:
        if (place / "Snakefile").is_file() and (place / "scripts").is_dir():
            return place
    raise StoreError(
        f"{places[0]}: the workflow is not there, and not in {places[1]}; install mose from its "
        "wheel or a checkout again"
    )


def find(name: str | Path) -> Path:
    """A file that a configuration names: in the working directory, else beside the workflow.

    name: as "config/models/gpt2-xl.yaml".
    Returns the path in the working directory where neither is there, for the error to name it.
    """
    own = Path(name)
    if own.exists():
        return own
    shipped = workflow_folder() / name
    return shipped if shipped.is_file() else own
