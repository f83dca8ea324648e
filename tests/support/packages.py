"""Building and installing packages in tests, without the network."""

import os
import subprocess
import sys
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
# hatchling comes with the extra `dev`; an isolated build would fetch it.
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]


def run(*command, check=True, **settings) -> subprocess.CompletedProcess[str]:
    """A command; one that fails shows what it said."""
    shown = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=400, check=False, **settings
    )
    assert shown.returncode == 0 or not check, shown.stdout + shown.stderr
    return shown


def install_into(target: Path, source: Path) -> None:
    """Install a source tree into a folder of its own."""
    run(*PIP, "install", *OFFLINE, "--target", target, source)


def seeing(*folders: Path) -> dict[str, str]:
    """An environment in which Python looks for modules in these folders first."""
    earlier = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, folders), *filter(None, earlier)]),
    }


def write_distribution(folder: Path, name: str, entry_points: str, **modules: str) -> None:
    """What an installed distribution leaves: its metadata, and modules by name."""
    info = folder / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[mose.methods]\n{entry_points}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
