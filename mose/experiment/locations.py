"""Where the project's own files are: the package, the workflow, and config/."""

from pathlib import Path

from mose.errors import StoreError

# The folder that `mose/` lies in: the repository, or site-packages. Names such as
# "mose/linalg/gram.py" are relative to it.
CODE = Path(__file__).parents[2]


def workflow_folder() -> Path:
    """The folder of Snakefile, workflow/, scripts/, config/ and profiles/.

    A wheel holds it as mose/_workflow/ (pyproject.toml, force-include); in a checkout it is the
    folder of `mose/`. Raises StoreError if neither has it.
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
    """A file that a configuration names: in the working directory, else in the workflow's folder.

    name: such as "config/models/gpt2-xl.yaml".
    If neither exists, returns the path in the working directory, for the error to name.
    """
    local = Path(name)
    if local.exists():
        return local
    shipped = workflow_folder() / name
    return shipped if shipped.is_file() else local
