"""Tables and figures of what is measured, while a run is not finished."""

from contextlib import contextmanager

import pandas as pd
from project import METHODS, check

NEW = ("scores2.csv", "stability2.csv", "perplexity2.csv")


@contextmanager
def hidden(path):
    """The file is not there for a while."""
    away = path.with_suffix(".away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


def test_what_is_finished_has_its_tables_while_the_rest_is_not(whole, tmp_path):
    project = whole.copy(tmp_path)
    results = project.folder / "results" / "small"
    before = (results / "summary.csv").read_bytes()
    later = {**METHODS["memit"], "lambda": 0.5}
    changed = {
        "methods": {**METHODS, "later": later},
        "edits": {"total": 6, "batch": 1, "checkpoint": 2},
    }
    done = project.run("--", "so_far", **changed)
    check(done)
    so_far = pd.read_csv(results / "so_far" / "summary.csv")
    pd.testing.assert_frame_equal(so_far, pd.read_csv(results / "summary.csv"))
    assert 6 not in set(so_far.edits)
    pictures = results / "so_far" / "figures" / "tiny" / "capitals"
    assert (pictures / "shares.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "summary.csv").read_bytes() == before

    # One measurement less is one row less, of its own method alone.
    with hidden(results / "tiny" / "capitals" / "memit" / "seed0" / "stability2.csv"):
        project.run("--", "so_far", **changed)
    fewer = pd.read_csv(results / "so_far" / "summary.csv")
    left_out = (so_far.method == "memit") & (so_far.edits == 2)
    pd.testing.assert_frame_equal(fewer, so_far[~left_out].reset_index(drop=True))

    # A chain that is made anew: its second checkpoint is still of the earlier run.
    again = ["results/small/tiny/capitals/memit/seed0/" + name for name in NEW]
    check(project.run("--", *again, methods={**METHODS, "memit": later}))
    project.run("--", "so_far", **changed)
    fewer = pd.read_csv(results / "so_far" / "summary.csv")
    assert sorted(fewer[fewer.method == "memit"].edits) == [0, 2]
    assert sorted(fewer[fewer.method == "mose-input"].edits) == [0, 2, 4]
    (line,) = [
        line
        for line in (results / "so_far" / "summary.txt").read_text().splitlines()
        if line.startswith("left out: ")
    ]
    assert line.endswith("memit/seed0/edits4.h5: it does not continue edits2.h5")

    # Without the unedited model's perplexity there is nothing to compare with.
    with hidden(results / "tiny" / "unedited" / "perplexity.csv"):
        refused = project.run("--", "so_far", **changed)
    assert refused.returncode != 0
    assert "error: results/small: no checkpoint is measured yet together with" in refused.stderr

    refused = project.run("--", "so_far", experiment="unbegun")
    assert refused.returncode != 0
    assert "error: results/unbegun: no checkpoint is measured yet" in refused.stderr
