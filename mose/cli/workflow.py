"""mose-workflow: runs Snakemake on the packaged workflow."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from mose.errors import ExtraMissing, MoseError
from mose.experiment.locations import workflow_folder

USAGE = """usage: mose-workflow [OPTIONS OF SNAKEMAKE]
       mose-workflow --folder

Runs Snakemake on the packaged workflow, in the working directory:

    mose-workflow --cores 2 --configfile mine.yaml

--folder prints the workflow's folder. Its config/ and profiles/ hold examples to copy.
--help-snakemake prints the options of Snakemake.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process by Snakemake; errors are one line and exit status 1."""
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
    """The command that runs Snakemake on the packaged workflow. Raises ExtraMissing without it."""
    if find_spec("snakemake") is None:
        raise ExtraMissing("mose-workflow", "snakemake", "workflow")
    options = ["--help" if argument == "--help-snakemake" else argument for argument in arguments]
    # -P: do not import a folder named mose from the working directory.
    command = [sys.executable, "-P", "-m", "snakemake"]
    return [*command, "--snakefile", str(workflow_folder() / "Snakefile"), *options]


if __name__ == "__main__":
    main()
