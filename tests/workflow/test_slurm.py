"""A small experiment as jobs of a real Slurm, through the profile that is shipped."""

import os
import subprocess
import sys

import pytest
import slurm_node
from project import CONFIG, METHODS, ROOT, Project, check

from mose.cli import short_log
from mose.experiment import config
from mose.experiment.plan import Plan
from mose.storage import yaml_files

# What a cluster without accounting needs, and polling fit for jobs of seconds.
SITE = [
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "6",
    "--slurm-no-account", "--slurm-keep-successful-logs", "--latency-wait", "10",
    "--default-resources", "slurm_partition=test", "mem_mb=1000", "runtime=5",
]  # fmt: skip

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    absent = slurm_node.missing()
    if absent:
        said = f"no {', '.join(absent)}; apt-get install slurmctld slurmd slurm-client"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with slurm_node.Node(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    """The experiment as Slurm jobs, and the same on this machine."""
    settings = {"methods": {"memit": METHODS["memit"]}, "measure": {}}
    by_slurm = Project(tmp_path_factory.mktemp("by-slurm"))
    by_slurm.configure(**settings)
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile",
         "--profile", ROOT / "profiles/slurm", *SITE, "--configfile", "config.yaml",
         "--logger", "mose"],
        cwd=by_slurm.folder, env=cluster.environment, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    check(run)
    (by_slurm.folder / "said.txt").write_text(run.stderr)
    here = Project(tmp_path_factory.mktemp("here"))
    local = here.run(**settings)
    check(local)
    return by_slurm, here, cluster.jobs()


def test_slurm_and_this_machine_end_in_the_same_tables(finished):
    by_slurm, here, _ = finished
    theirs = by_slurm.results("*.csv")
    assert theirs == here.results("*.csv")
    assert len(theirs) > 5


def test_what_costs_ran_as_jobs_with_what_it_needs(finished, monkeypatch):
    by_slurm, _, jobs = finished
    rules = [job["Comment"].removeprefix("rule_").split("_wildcards_")[0] for job in jobs]
    assert rules.count("edit") == 2, rules
    assert rules.count("second_moments") == CONFIG["corpus"]["shards"], rules
    assert {"corpus", "add_second_moments", "measure", "stability", "templates"} <= set(rules)
    # Tables and the like are made where Snakemake runs.
    assert not {"tables", "figures", "requests", "enough_requests"} & set(rules), rules
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    # What the model's shape says, and not what the site has as its default.
    monkeypatch.chdir(by_slurm.folder)
    filled, models = config.read_experiment(yaml_files.read_yaml("config.yaml"))
    at = {"model": "tiny", "dataset": "capitals", "method": "memit", "n": "2"}
    needed = Plan(filled, models).needs("edit", at)
    edit = next(job for job in jobs if job["Comment"].startswith("rule_edit"))
    assert edit["MinMemoryNode"] == f"{needed.mem_mb()}M"
    assert edit["TimeLimit"] == f"00:{needed.runtime()}:00"


def test_measurement_runs_beside_the_chain(finished):
    *_, jobs = finished

    def of(rule, n):
        return next(
            j for j in jobs if j["Comment"].startswith(f"rule_{rule}_") and n in j["Comment"]
        )

    first, second = of("edit", "_2"), of("edit", "_4")
    assert second["StartTime"] >= first["EndTime"], "a segment goes on from the one before it"
    assert of("measure", "_2")["StartTime"] < second["EndTime"]


def test_the_short_log_of_slurm_jobs_is_short(finished):
    by_slurm, _, jobs = finished
    lines = (by_slurm.folder / "said.txt").read_text().splitlines()
    done = [line for line in lines if " jobs, " in line and line[0].isdigit()]
    assert done[-1].split()[0].split("/")[0] == done[-1].split()[0].split("/")[1]
    summary = (by_slurm.folder / "results/small/summary.txt").read_text().splitlines()
    assert summary[-1] in lines
    assert len(lines) < len(summary) + short_log.PLAIN_LINES + 30, lines
    assert len(jobs) > 10
