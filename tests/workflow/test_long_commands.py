"""A scan of hundreds of variants: what a program is told of all of them is no part of its command.

Linux takes no argument of more than 128 KiB, and a command is one argument of Bash.
"""

import itertools
import json
import re

import pandas as pd
import pytest
from project import METHODS, Project, check

LAMBDAS = [round(0.05 * i, 2) for i in range(1, 401)]
ENTRY = {**METHODS["memit"], "targets_from": "unedited", "memory": "keys"}
CHANGED = {
    "methods": {"memit": {**ENTRY, "scan": {"lambda": LAMBDAS}}},
    "edits": {"total": 2, "batch": 1, "checkpoint": 2},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("scan"))


def labels():
    return [f"memit_lambda{value}".replace(".", "p") for value in LAMBDAS]


def test_every_command_is_short(project):
    shown = project.run("-n", "-p", "--", "scan", "results/small/report.html", **CHANGED)
    assert shown.returncode == 0, shown.stderr
    said = shown.stdout + shown.stderr
    commands = re.findall(r"^Shell command: (.*)$", said, re.MULTILINE)
    assert len(commands) > 3 * len(LAMBDAS)
    assert max(map(len, commands)) < 40_000
    for program in ("choose_settings", "report_page"):
        (command,) = [one for one in commands if f"/{program}.py" in one]
        assert "results/small/options/" in command, program
    assert not (project.folder / "results").exists(), "a dry run writes nothing"


def test_the_program_is_told_of_all_variants(project):
    summary = project.folder / "results" / "small" / "summary.csv"
    summary.parent.mkdir(parents=True)
    measures = [
        *("reliability", "generalization", "locality", "efficacy", "paraphrase", "neighborhood"),
        "perplexity",
    ]
    rows = [
        {
            "model": "tiny", "dataset": "capitals", "method": label, "seed": 0, "edits": 2,
            **dict.fromkeys(measures, 1 - i / 1000),
        }
        for i, label in enumerate(labels())
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(summary, index=False)
    only = ("--allowed-rules", "choose_settings", "--", "results/small/scan.txt")
    check(project.run(*only, **CHANGED))
    ranked = pd.read_csv(summary.with_name("scan.csv"))
    assert ranked.variant.tolist() == labels()
    assert ranked["lambda"].tolist() == LAMBDAS

    # What changes for one of them makes the ranking again; nothing else does.
    assert "choose_settings" not in project.planned(*only, **CHANGED)
    entry = {**ENTRY, "steps": 5, "scan": {"lambda": LAMBDAS}}
    changed = {**CHANGED, "methods": {"memit": entry}}
    assert project.planned(*only, **changed) == {"choose_settings": 1, "total": 1}


def test_targets_of_the_configuration_are_named_for_the_table_of_times(project):
    """The page is made of them alone, and not of folders that other options have left."""
    check(project.run("--until", "captions", "--", "scan", **CHANGED))
    written = [json.loads(p.read_text()) for p in project.folder.glob("results/small/options/*")]
    (settings,) = [one for one in written if "configuration" in one]
    (target,) = settings["targets"]
    assert re.fullmatch(r"layer2-[0-9a-f]{8}", target)
    assert len(list(itertools.chain(*settings["methods"].values()))) == len(LAMBDAS)
