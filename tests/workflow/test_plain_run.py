"""One run as a user has it: every program by itself, started by Snakemake from a shell."""

from project import METHODS, Project, check

SHORTER = {
    "methods": {"memit": METHODS["memit"]},
    "edits": {"total": 2, "batch": 1, "checkpoint": 2},
}


def test_a_users_own_run_gives_what_runs_with_loaded_libraries_give(whole, tmp_path):
    """The other tests fork jobs off a process that has the libraries loaded (support/warm.py)."""
    project = Project(tmp_path)
    done = project.run_plainly(**SHORTER)
    check(done)
    assert "Tables and figures: results/small/" in done.stderr
    pattern = "tiny/**/*[!0-9][02].*"
    expected = {
        name: contents
        for name, contents in whole.results(pattern).items()
        if "mose-input" not in name and not name.endswith(".h5")
    }
    assert len(expected) > 5
    assert project.results(pattern).items() >= expected.items()
    shown = project.folder / "results" / "small" / "figures" / "tiny" / "capitals" / "shares.png"
    assert shown.read_bytes().startswith(b"\x89PNG")
