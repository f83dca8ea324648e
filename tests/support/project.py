"""A small project with the workflow linked in: what the tests with real Snakemake run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import tiny
import warm
import yaml

ROOT = Path(__file__).parents[2]
LINKED = ("Snakefile", "workflow", "scripts", "mose", "profiles")
SNAKEMAKE = ["-m", "snakemake", "--cores", "2"]
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


def link(folder: Path, *more: str) -> None:
    """Link the workflow's own files, and more of the checkout, into a folder."""
    for name in (*LINKED, *more):
        (folder / name).symlink_to(ROOT / name)


class Project:
    """A folder with the workflow's own files linked in, a tiny model and a data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = warm.jobs()
        if (folder / "Snakefile").exists():
            return
        link(folder)
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

    def copy(self, folder: Path) -> "Project":
        """A copy with its results, in which there is nothing to do."""
        copied = Project(folder)
        for name in ("results", ".snakemake"):
            shutil.copytree(self.folder / name, folder / name)
        return copied

    def configure(self, **changed: object) -> None:
        """Write the configuration, with other values of some keys."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changed}))

    def command(self, *arguments: str, **changed: object) -> list[str]:
        """Snakemake's command line, for a process of its own."""
        self.configure(**changed)
        return [sys.executable, *SNAKEMAKE, "--configfile", "config.yaml", *arguments]

    def run(self, *arguments: str, **changed: object) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; exit status, standard output and standard error."""
        _, *command = self.command(*arguments, **changed)
        return self.jobs.run(command, self.folder)

    def run_plainly(self, *arguments: str, **changed: object) -> subprocess.CompletedProcess[str]:
        """The same as a user's own run: every program starts by itself, in seconds."""
        return subprocess.run(
            self.command(*arguments, **changed),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def planned(self, *arguments: str, **changed: object) -> dict[str, int]:
        """How many jobs of which rule a dry run plans."""
        shown = self.run("-n", "--quiet", "rules", *arguments, **changed)
        assert shown.returncode == 0, shown.stderr
        table = re.findall(r"^(\w+) +(\d+)$", shown.stdout + shown.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in table}

    def results(self, pattern: str) -> dict[str, str | bytes]:
        """Result files by name in `results/small`, without the times that a record holds."""
        contents: dict[str, str | bytes] = {}
        results = self.folder / "results" / "small"
        for path in sorted(results.glob(pattern)):
            name = str(path.relative_to(results))
            if path.name == "requests.csv":
                contents[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
            else:
                contents[name] = path.read_bytes()
        return contents
