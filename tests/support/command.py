"""The command `mose` in this process, and edits for it."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from front_door import SMALL

from mose.cli import main as command

# Strong edits, so that answers differ.
OPTIONS = {
    "layers": [1, 2], "lambda": 0.001, "learning_rate": 0.5, "steps": 20, "clamp": 9.0,
    "weight_decay": 0.0, "batch": 2, **SMALL,
}  # fmt: skip


def run(*arguments):
    """Exit status, output and errors of the command, in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["mose", *map(str, arguments)])
        try:
            command.main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code or 0
    if isinstance(status, str):  # sys.exit(text) writes it, with status 1
        errors.write(status)
        status = 1
    return status, out.getvalue(), errors.getvalue()
