"""Workflows that run out of time or room, or may not write: nothing finished is lost."""

import os
import shutil
import signal
import subprocess
import time

import flow
import pytest


@pytest.fixture
def project(whole, tmp_path):
    """A project whose last segments are to be made."""
    return flow.without_last_segment(whole, tmp_path)


def finished_chains(project):
    """Bytes and times of the checkpoints that a run must not touch."""
    chains = (project.folder / flow.METHODS_FOLDER).glob("m*/seed0/*2.*")
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in chains}


def finishes(project, whole, before):
    """A second run does what is missing, and no more than that."""
    done = flow.run(project)
    assert done.status == 0, done.said[-4000:]
    assert sorted(log for log in done.jobs("begun") if "logs/edit/" in log) == [
        f"results/logs/edit/small.tiny.capitals.{method}.0.4.log"
        for method in ("memit", "mose-input")
    ]
    assert finished_chains(project) == before
    assert flow.tables(project) == flow.tables(whole)
    assert flow.leftovers(project.folder) == []


def test_jobs_over_their_time_keep_the_chain_and_it_goes_on(whole, project):
    before = finished_chains(project)
    running = flow.Flow(project, "--", flow.TABLES)
    edits = flow.stop_edits(project)
    # A scheduler asks first. One job hears it; the other is stuck, and is killed after a while.
    for process in edits.values():
        os.kill(process, signal.SIGTERM)
    os.kill(edits["memit"], signal.SIGCONT)
    time.sleep(0.5)
    os.kill(edits["mose-input"], signal.SIGKILL)
    ended = running.end()
    assert ended.status != 0
    assert ended.said.count("error: terminated (a time limit, or a kill); run again") == 1
    assert "Traceback" not in ended.said
    assert not list(project.folder.glob("results/**/edits4.h5"))
    finishes(project, whole, before)


@pytest.fixture
def small_disk(project):
    """The project with its results on a file system of their own, which has 4 MB to spare."""
    results = project.folder / "results"
    moved = results.rename(project.folder / "moved")
    results.mkdir()
    used = sum(path.stat().st_size + 4096 for path in moved.rglob("*"))
    options = f"size={used + (4 << 20)}"
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(results)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no file system can be mounted here")
    try:
        shutil.copytree(moved, results, dirs_exist_ok=True)
        yield results
    finally:
        subprocess.run(["umount", "--lazy", str(results)], check=True)


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def test_a_disk_that_fills_is_said_and_with_room_again_the_run_ends(whole, project, small_disk):
    before = finished_chains(project)
    running = flow.Flow(project, "--", flow.TABLES)
    edits = flow.stop_edits(project)
    others = small_disk / "others"
    with pytest.raises(OSError, match="No space left"):
        fill(others)
    for process in edits.values():
        os.kill(process, signal.SIGCONT)
    ended = running.end()
    assert ended.status != 0
    last = [line for line in ended.said.splitlines() if line.startswith("error: ")][-1]
    assert last.startswith("error: results: cannot be written (No space left on device); check")
    assert not list(small_disk.glob("**/edits4.h5"))
    again = flow.run(project)
    assert again.status != 0
    assert last in again.said
    assert again.jobs("begun") == [], "refused before anything runs"
    others.unlink()
    finishes(project, whole, before)


def test_results_that_may_not_be_written_are_named_before_anything_runs(whole, project, request):
    before = finished_chains(project)
    if os.geteuid():
        results = project.folder / "results"
        allow = [lambda: results.chmod(0o555), lambda: results.chmod(0o755)]
    else:  # root may write everywhere but here
        results = request.getfixturevalue("small_disk")
        allow = [
            lambda how=how: subprocess.run(
                ["mount", "-o", f"remount,{how}", str(results)], check=True
            )
            for how in ("ro", "rw")
        ]
    allow[0]()
    ended = flow.run(project)
    allow[1]()
    assert ended.status != 0
    assert "error: results: cannot be written (" in ended.said
    assert "permissions, then run again" in ended.said
    assert "Traceback" not in ended.said
    assert ended.jobs("begun") == []
    finishes(project, whole, before)
