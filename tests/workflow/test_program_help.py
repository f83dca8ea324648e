"""The programs in scripts/ explain themselves."""

import subprocess
import sys
import time

import pytest
from project import ROOT


@pytest.mark.parametrize("program", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_every_program_explains_itself_quickly(program):
    begun = time.monotonic()
    shown = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert shown.stdout.startswith("usage:")
    assert any(
        name in shown.stdout for name in ("--out", "--runs", "--scores", "--experiment", "--root")
    )
    # pandas alone takes a second on a busy machine; torch would take three.
    assert time.monotonic() - begun < 10
