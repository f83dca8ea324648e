"""The programs in scripts/ explain themselves."""

import os
import subprocess
import sys

import pytest
from project import ROOT


@pytest.mark.parametrize("program", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_every_program_explains_itself_at_once(program):
    before = os.times()
    shown = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    after = os.times()
    assert shown.stdout.startswith("usage:")
    assert any(
        name in shown.stdout for name in ("--out", "--runs", "--scores", "--experiment", "--root")
    )
    # The processor's time, which other work beside hardly changes. Without pandas or torch it is
    # a tenth of this.
    used = after.children_user - before.children_user
    assert used + after.children_system - before.children_system < 0.5
