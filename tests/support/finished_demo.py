"""Stand-ins for the results of a finished demo, in a checkout that has none.

A user runs `make demo`, then `make test`. `.ci/run` tries this order without the demo's minutes:
every file that the demo writes is there and newer than what it is made from, so that Snakemake
finds nothing to do. The files are empty, but for the model's manifest: whoever reads one fails.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "1"]


def snakemake(checkout: Path, *options: str) -> str:
    """What Snakemake prints in a checkout."""
    return subprocess.run(
        [*SNAKEMAKE, *options], cwd=checkout, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def write(checkout: Path) -> int:
    """Write the stand-ins; how many there are.

    Errors: FileExistsError where results/ holds anything but its README.
    """
    there = {path.name for path in (checkout / "results").iterdir()} - {"README.md"}
    if there:
        raise FileExistsError(f"{checkout}/results holds {', '.join(sorted(there))}; remove them")
    names = [line.split("\t")[0] for line in snakemake(checkout, "--summary").splitlines()[1:]]
    now = time.time()
    for name in names:
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest(checkout, path.parent.name) if path.stem == "manifest" else "")
        os.utime(path, (now, now))  # none is newer than what is made from it
    return len(names)


def manifest(checkout: Path, model: str) -> str:
    """What a plan reads of a model's manifest: the shape that its configuration states."""
    stated = yaml.safe_load((checkout / "config" / "models" / f"{model}.yaml").read_text())
    shape = stated["shape"]
    sizes = {"layers": shape["blocks"], "d_out": shape["width"], "d_in": shape["mlp_width"]}
    return json.dumps({**shape, **sizes})


if __name__ == "__main__":
    count = write(ROOT)
    if "total" in (planned := snakemake(ROOT, "-n", "--quiet", "rules")):
        sys.exit(f"the demo is not finished by {count} files; its plan:\n{planned}")
