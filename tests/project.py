"""A small project, a folder without the workflow: what the tests with real Snakemake run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import tiny
import yaml

ROOT = Path(__file__).parents[1]
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2"]
TARGETS = {"steps": 4, "learning_rate": 0.2}
METHODS = {
    "memit": {"method": "memit", "layers": [1, 2], "lambda": 0.1, **TARGETS},
    "mose-input": {
        "method": "mose", "side": "input", "targets": "reachable", "memory": "accumulate",
        "layers": [1], "lambda": 0.1, **TARGETS,
    },
}  # fmt: skip
CONFIG = {
    "experiment": "small",
    "models": ["tiny.yaml"],
    "datasets": {"capitals": {"source": "facts.json", "neighbours": 1}},
    "corpus": {"tokens": 600, "heldout": 64, "window": 16, "shards": 2},
    "templates": {"length": 4},
    "edits": {"total": 4, "batch": 1, "checkpoint": 2},
    "measure": {"generate": 1, "generated_tokens": 3},
    "methods": METHODS,
    "device": "cpu",
}


class Project:
    """A folder with a tiny model, a data set and a config; the workflow is where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny.save(folder / "tiny-llama")
        (folder / "tiny.yaml").write_text(yaml.safe_dump({"source": {"local": "tiny-llama"}}))
        facts = [
            {
                "subject": country,
                "prompt": "The capital of {} is",
                "target_new": tiny.FACTS[(i + 5) % 12][1],
                "target_true": capital,
                "paraphrases": ["People of {} meet in"],
                "locality": [{"prompt": "The capital of Peru is", "target": "Lima"}],
            }
            for i, (country, capital) in enumerate(tiny.FACTS)
        ]
        (folder / "facts.json").write_text(json.dumps(facts))

    def command(self, *arguments, checkout=ROOT, **changed):
        """Snakemake's command line. checkout: the project whose workflow is run."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changed}))
        snakefile = ["--snakefile", str(checkout / "Snakefile")]
        return [*SNAKEMAKE, *snakefile, "--configfile", "config.yaml", *arguments]

    def run(self, *arguments, checkout=ROOT, **changed):
        """Snakemake to its end, with the library of the same checkout before all others."""
        earlier = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        return subprocess.run(
            self.command(*arguments, checkout=checkout, **changed),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), *earlier])},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def planned(self, checkout=ROOT, **changed):
        """How many jobs of which rule a dry run plans."""
        shown = self.run("-n", "--quiet", "rules", checkout=checkout, **changed)
        assert shown.returncode == 0, shown.stderr
        table = re.findall(r"^(\w+) +(\d+)$", shown.stdout + shown.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in table}

    def results(self, pattern):
        """Bytes of result files by name, without the times that a record holds."""
        found = {}
        for path in sorted((self.folder / "results" / "small").glob(pattern)):
            if path.name == "edit_records.csv":
                found[str(path)] = pd.read_csv(path).drop(columns="seconds").to_csv()
            else:
                found[str(path)] = path.read_bytes()
        return found
