"""mose-workflow: Snakemake on the workflow that came with the package."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from mose.errors import ExtraMissing, MoseError
from mose.experiment.locations import workflow_folder

USAGE = """usage: mose-workflow [OPTIONS OF SNAKEMAKE]
       mose-workflow --folder

Runs Snakemake on the workflow of this package, in the working directory:

    mose-workflow --cores 2 --configfile mine.yaml

--folder prints where the workflow is, with the configurations (config/) and profiles (profiles/) to
copy from. For Snakemake's own options: mose-workflow --help-snakemake.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run Snakemake in this process's place; errors are one line and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments == ["--folder"]:
            sys.stdout.write(f"{workflow_folder()}\n")
        elif not arguments or arguments[0] in ("-h", "--help"):
            sys.stdout.write(USAGE)
        else:
            command = command_of(arguments)
            os.execv(command[0], command)
    except MoseError as error:
        sys.exit(f"error: {error}")


def command_of(arguments: Sequence[str]) -> list[str]:
    """Snakemake's command on the packaged workflow; raises ExtraMissing without Snakemake."""
    if find_spec("snakemake") is None:
        raise ExtraMissing("mose-workflow", "snakemake", "workflow")
    asked = ["--help" if argument == "--help-snakemake" else argument for argument in arguments]
    # -P: a folder named mose in the working directory is not the library.
    start = [sys.executable, "-P", "-m", "snakemake"]
    return [*start, "--snakefile", str(workflow_folder() / "Snakefile"), *asked]


if __name__ == "__main__":
    main()
