"""A small project, a folder without the workflow: what the tests with real Snakemake run."""

import json
import os
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


def check(done: subprocess.CompletedProcess[str]) -> None:
    """Assert that Snakemake ended well; the message begins with the first job that failed."""
    failed = done.stderr.find("Error in rule")
    said = done.stderr[-4000:] if failed < 0 else done.stderr[failed : failed + 4000]
    assert done.returncode == 0, said


class Project:
    """A folder with a tiny model, a data set and a config; the workflow is where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = warm.jobs()
        if (folder / "tiny.yaml").exists():
            return
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

    def command(self, *arguments: str, checkout: Path = ROOT, **changed: object) -> list[str]:
        """Snakemake's command line, for a process of its own.

        checkout: the project whose workflow is run.
        """
        self.configure(**changed)
        snakefile = ["--snakefile", str(checkout / "Snakefile")]
        options = [*snakefile, "--configfile", "config.yaml"]
        return [sys.executable, *SNAKEMAKE, *options, *arguments]

    def run(self, *arguments: str, **changed: object) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; exit status, standard output and standard error."""
        _, *command = self.command(*arguments, **changed)
        return self.jobs.run(command, self.folder)

    def run_plainly(
        self, *arguments: str, checkout: Path = ROOT, **changed: object
    ) -> subprocess.CompletedProcess[str]:
        """The same as a user's own run: every program starts by itself, in seconds.

        The library is the checkout's; other modules are looked for where PYTHONPATH says.
        """
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

    def planned(
        self, *arguments: str, checkout: Path | None = None, **changed: object
    ) -> dict[str, int]:
        """How many jobs of which rule a dry run plans; checkout: another than this one."""
        options = ("-n", "--quiet", "rules", *arguments)
        if checkout is None:
            shown = self.run(*options, **changed)
        else:
            shown = self.run_plainly(*options, checkout=checkout, **changed)
        assert shown.returncode == 0, shown.stderr
        table = re.findall(r"^(\w+) +(\d+)$", shown.stdout + shown.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in table}

    def results(self, pattern: str) -> dict[str, str | bytes]:
        """Result files by name in `results/small`, without what a clock says: the table of times,
        and the times that a record holds."""
        contents: dict[str, str | bytes] = {}
        results = self.folder / "results" / "small"
        for path in sorted(results.glob(pattern)):
            name = str(path.relative_to(results))
            if name == "figures/times.csv":
                continue
            if path.name == "edit_records.csv":
                contents[name] = pd.read_csv(path).drop(columns="seconds").to_csv()
            else:
                contents[name] = path.read_bytes()
        return contents
