"""Where the workflow is: in a checkout beside the library, in an installed package inside it."""

from pathlib import Path

import mose
from mose.errors import StoreError


def library_folder() -> Path:
    """The folder that `mose/` lies in: the repository, or site-packages."""
    return Path(mose.__file__).parents[1]


def workflow_folder() -> Path:
    """The folder of Snakefile, workflow/, scripts/, config/ and profiles/.

    A wheel holds them as mose/_workflow/ (pyproject.toml, force-include).
    Raises StoreError where neither place has them.
    """
    places = (library_folder() / "mose" / "_workflow", library_folder())
    for place in places:
        if (place / "Snakefile").is_file() and (place / "scripts").is_dir():
            return place
    raise StoreError(
        f"{places[0]}: the workflow is not there, and not in {places[1]}; install mose from its "
        "wheel or a checkout again"
    )
