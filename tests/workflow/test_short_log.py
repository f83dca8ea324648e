"""What `mose run` prints of real runs: little, and no mistake or failure is missing."""

import pytest

PROFILE = "Using workflow specific profile"  # Snakemake prints it before its log begins


def short(project, *arguments, **changed):
    """A run with the short log: exit status, and the lines of standard error."""
    done = project.run("--logger", "mose", *arguments, **changed)
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    return done.returncode, [line for line in lines if not line.startswith(PROFILE)]


@pytest.fixture
def project(whole, tmp_path):
    return whole.copy(tmp_path)


def test_a_run_ends_in_its_table_and_the_full_log_is_kept(project):
    results = project.folder / "results" / "small"
    summary = (results / "summary.txt").read_text()
    (results / "means.csv").unlink()
    status, lines = short(project, "--", str((results / "means.csv").relative_to(project.folder)))
    assert status == 0
    assert lines[0].startswith("What is to run needs")
    assert any(line.startswith("1/1 jobs, ") for line in lines)
    shown = "\n".join(lines)
    assert summary.strip() in shown
    assert "Tables and figures: results/small/" in shown
    assert len(lines) < len(summary.splitlines()) + 10
    log = max((project.folder / ".snakemake" / "log").iterdir())
    assert f"Complete log(s): {log}" in shown
    assert "rule tables:" in log.read_text()
    assert summary.strip() in log.read_text()
    assert short(project) == (
        0,
        ["Nothing to be done (all requested files are present and up to date)."],
    )


def test_a_failed_job_is_shown_and_the_exit_status_is_snakemake_s(project):
    damaged = "results/small/tiny/capitals/memit/seed0/stability4.csv"
    (project.folder / damaged).write_text("")
    status, lines = short(project, "--", "results/small/means.csv")
    assert status == 1
    (failed,) = [line for line in lines if line.startswith("failed: ")]
    assert failed.startswith("failed: tables: ")
    (log,) = [line for line in lines if line.startswith("  log: ")]
    said = (project.folder / log.removeprefix("  log: ")).read_text()
    assert failed.endswith(said.splitlines()[-1])
    assert any(line.startswith("1 jobs failed; ") for line in lines)
    assert len(lines) < 8


def test_a_mistake_in_the_config_is_one_line(project):
    edits = {"total": 4, "batch": 1, "checkpoint": 2, "stepp": 1}
    assert short(project, edits=edits) == (
        1,
        [
            "error: config: edits: unknown key 'stepp'; known are total, batch, checkpoint, "
            "conflicts, tasks_every"
        ],
    )
