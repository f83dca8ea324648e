"""The paper's comparison plans where nothing of it is there: no model, no data, no network."""

import re
import subprocess

import pytest
import warm
from project import link

# One checkpoint in place of twenty, for the tests' time.
SHORT = "edits: {total: 20, checkpoint: 20, tasks_every: 20}"


def snakemake(folder, *arguments, overlays=()):
    link(folder, "config")
    jobs = warm.jobs()
    (folder / "short.yaml").write_text(SHORT)
    unreachable = "http://127.0.0.1:9"
    return subprocess.run(
        [*jobs.python, "-m", "snakemake", *arguments, "--configfile", "config/paper.yaml",
         *overlays, "short.yaml"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        check=False,
        env={**jobs.environment, "HTTPS_PROXY": unreachable, "HTTP_PROXY": unreachable},
    )  # fmt: skip


@pytest.mark.parametrize("overlays", [[], ["config/overlays/paper-single.yaml"]])
def test_it_plans_offline_and_says_what_it_needs_first(tmp_path, overlays):
    run = snakemake(tmp_path, "-n", "--quiet", "rules", overlays=overlays)
    said = run.stdout
    assert run.returncode == 0, said
    assert said.index("What all of it needs") < said.index("Building DAG of jobs")
    for model in ("llama3-8b", "llama2-13b", "qwen2.5-7b"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"  {model}: ")]
        assert "hours" in line
        assert "of a GPU" in line
        assert "disk" in line
    methods, models, datasets = 17, 3, 3
    table = dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))
    assert int(table["edit"]) == methods * models * datasets
    # What has to be put there is named, once.
    assert said.count("config: datasets.concepts.source: data/concept_data.json") == 1


def test_a_run_without_the_data_is_refused_by_key(tmp_path):
    refused = snakemake(tmp_path, "--cores", "1")
    assert refused.returncode == 1
    key = "datasets.counterfact.source"
    assert f"config: {key}: data/counterfact.json: no such file" in refused.stdout
    assert not (tmp_path / "results").exists()
