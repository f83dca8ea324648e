"""What cannot work is refused when it is planned, in one line, through real Snakemake."""

import subprocess

import pytest
import yaml
from project import METHODS, Project

TWICE = "seeds: [0]\nmethods:\n  memit: {settings: a}\n  memit: {settings: b}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


def refused(run, message):
    # Snakemake says it on the one in a dry run and on the other in a run.
    said = run.stdout + run.stderr
    assert run.returncode == 1, said
    (line,) = [line for line in said.splitlines() if message in line]
    assert "Traceback" not in said
    return line


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"methods": {"memit": {**METHODS["memit"], "layers": [1, 99]}}},
            "config: methods.memit.layers: found 99, expected 0 to ",
        ),
        ({"models": ["gone.yaml"]}, "gone.yaml: source.local: no/such: no such file or directory"),
        ({"device": "gpu"}, "config: device: found 'gpu', expected auto, cpu, cuda or"),
    ],
)
def test_what_no_job_could_do_is_refused_by_a_dry_run(project, changed, message):
    (project.folder / "gone.yaml").write_text(yaml.safe_dump({"source": {"local": "no/such"}}))
    refused(project.run("-n", **changed), message)


def test_a_key_stated_twice_is_refused_in_every_file_of_configfile(project):
    (project.folder / "overlay.yaml").write_text(TWICE)
    run = subprocess.run(
        [*project.command("overlay.yaml"), "-n"],
        cwd=project.folder, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    said = refused(run, "overlay.yaml: line 4: key 'memit' is stated twice (first on line 3)")
    assert said.startswith("overlay.yaml"), "as it was named, relative to where one is"
