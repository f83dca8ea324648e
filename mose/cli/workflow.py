"""mose-workflow, and `mose run`: runs Snakemake on the packaged workflow."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mose.errors import ConfigError, ExtraMissing, MoseError
from mose.experiment.locations import workflow_folder
from mose.storage.yaml_files import read_yaml

# The configuration of profiles/default, relative to the working directory.
DEFAULT = "config/demo.yaml"
# Options that name a configuration, may name one, or run nothing.
NEEDS_NONE = (
    *("--configfile", "--configfiles", "--profile", "--workflow-profile"),
    *("--help-snakemake", "--version", "-v"),
)
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
            _check_configured(arguments)
            command = command_of(arguments)
            os.execv(command[0], command)
    except MoseError as error:
        sys.exit(f"error: {error}")


def _check_configured(arguments: Sequence[str]) -> None:
    """Refuse what would end in Snakemake's search for the profile's configuration."""
    named = any(one.split("=")[0] in NEEDS_NONE for one in arguments)
    if not named and not Path(DEFAULT).is_file():
        raise ConfigError(
            f"no configuration: {DEFAULT} is not in this folder; give one with --configfile"
        )


def run_config(config: str, options: Sequence[str], full: bool = False) -> None:
    """Replace this process by Snakemake on a configuration; on all cores, if `options` say none.

    full: print all that Snakemake logs, instead of the short log (mose/cli/short_log.py).
    Raises ConfigError for a file that is not there, or no configuration.
    """
    if not Path(config).is_file():
        raise ConfigError(f"{config}: no such file; give an experiment's configuration")
    if not isinstance(read_yaml(config), dict):
        raise ConfigError(
            f"{config}: found no keys, expected an experiment's configuration (docs/config.md)"
        )
    named = ("-c", "--cores", "--profile", "--workflow-profile", "-j", "--jobs")
    cores = [] if any(one.split("=")[0] in named for one in options) else ["--cores", "all"]
    log = [] if full else ["--logger", "mose"]
    command = command_of(["--configfile", config, *log, *cores, *options])
    os.execv(command[0], command)


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
