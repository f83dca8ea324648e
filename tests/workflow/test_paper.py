"""The paper's comparison plans where nothing of it is there: no model, no data, no network."""

import re
import subprocess

import pytest
import warm
from project import ROOT

# One checkpoint in place of ten, for the tests' time.
SHORT = "edits: {total: 20, checkpoint: 20, tasks_every: 20}"


def snakemake(folder, *arguments, overlays=()):
    jobs = warm.jobs()
    (folder / "short.yaml").write_text(SHORT)
    unreachable = "http://127.0.0.1:9"
    return subprocess.run(
        [*jobs.python, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *arguments,
         "--configfile", ROOT / "config/paper.yaml", *(ROOT / name for name in overlays),
         "short.yaml"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        check=False,
        env={**jobs.environment, "HTTPS_PROXY": unreachable, "HTTP_PROXY": unreachable},
    )  # fmt: skip


@pytest.mark.parametrize("overlays", [[], ["config/overlays/paper-single.yaml"]])
def test_it_plans_offline_and_says_what_it_needs(tmp_path, overlays):
    run = snakemake(tmp_path, "-n", "--quiet", "rules", overlays=overlays)
    said = run.stdout
    assert run.returncode == 0, said
    assert said.count("What is to run needs") == 1
    for model in ("llama3-8b", "llama2-13b", "qwen2.5-7b"):
        (line,) = [line for line in said.splitlines() if line.startswith(f"  {model}: ")]
        assert "hours" in line
        assert "of a GPU" in line
        assert "disk" in line
    methods, models, datasets = 16, 3, 3
    table = dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))
    assert int(table["edit"]) == methods * models * datasets
    # Every job that loads a model counts, those of one method only as well.
    light = {"requests", "enough_requests", "tables", "figures", "task_items", "task_tables"}
    light |= {"captions", "task_figures", "report_page", "all", "total"}
    counted = re.findall(r"^  [\w.-]+: ([\d,]+) jobs", said, re.MULTILINE)
    heavy = sum(int(count) for rule, count in table.items() if rule not in light)
    assert sum(map(int, counted)) == heavy
    # What has to be put there is named, once.
    assert said.count("config: datasets.concepts.source: data/concept_data.json") == 1


def test_a_run_without_the_data_is_refused_by_key(tmp_path):
    refused = snakemake(tmp_path, "--cores", "1")
    assert refused.returncode == 1
    key = "datasets.counterfact.source"
    assert f"config: {key}: data/counterfact.json: no such file" in refused.stdout
    assert not (tmp_path / "results").exists()
