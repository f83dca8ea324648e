"""Which checkpoints of a run under way are finished, told by the files that are there."""

import os
from pathlib import Path

import pytest

from mose.experiment import unfinished
from mose.experiment.paths import Paths
from mose.experiment.runs import Runs
from mose.storage import hdf5

RUN = Paths(experiment="e", model="m", dataset="d", method="a", seed=0)
MEASURED = ("scores", "stability", "perplexity")
KINDS = ("checkpoint", "immediate", *MEASURED)


def touch(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()


def edit(n, before, **settings):
    """Write a checkpoint that continues another one; 0: the unedited model."""
    parent = hdf5.read(RUN.at(n=before).checkpoint, "checkpoint", []).digest if before else ""
    hdf5.write(RUN.at(n=n).checkpoint, "checkpoint", {}, {"parent": parent, **settings})
    touch(RUN.at(n=n).immediate)


def measure(n):
    for kind in MEASURED:
        touch(getattr(RUN.at(n=n), kind))


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A folder in which three checkpoints of a run are measured."""
    monkeypatch.chdir(tmp_path)
    touch(RUN.unedited_perplexity)
    for n in (2, 4, 6):
        touch(RUN.at(n=n).unedited_scores)
        edit(n, n - 2)
        measure(n)


def found(*checkpoints):
    progress = unfinished.progress(RUN, checkpoints)
    return progress.finished, progress.left_out


def test_all_that_is_measured_is_finished(measured):
    assert found(2, 4, 6, 8) == ([2, 4, 6], {})


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_missing_measurement_leaves_its_checkpoint_out(measured, kind):
    Path(getattr(RUN.at(n=4), kind)).unlink()
    assert found(2, 4, 6) == ([2, 6], {})


def test_a_checkpoint_needs_the_unedited_scores_of_all_requests_before_it(measured):
    Path(RUN.at(n=4).unedited_scores).unlink()
    assert found(2, 4, 6) == ([2], {})


def test_without_the_unedited_perplexity_nothing_is_finished(measured):
    Path(RUN.unedited_perplexity).unlink()
    assert found(2, 4, 6) == ([], {})


def test_what_is_left_of_an_earlier_run_of_the_chain_is_left_out(measured):
    edit(2, 0, variant="another")
    measure(2)
    reasons = {4: "it does not continue edits2.h5", 6: "it continues edits4.h5, which is left out"}
    assert found(2, 4, 6) == ([2], reasons)
    edit(4, 2, variant="another")
    measure(4)
    assert found(2, 4, 6) == ([2, 4], {6: "it does not continue edits4.h5"})


def test_while_a_checkpoint_is_made_anew_the_later_ones_are_left_out(measured):
    Path(RUN.at(n=2).checkpoint).unlink()
    reasons = {
        4: "edits2.h5, which it continues, is not there",
        6: "it continues edits4.h5, which is left out",
    }
    assert found(2, 4, 6) == ([], reasons)


def test_a_chain_of_shorter_segments_is_an_earlier_run(measured):
    assert found(4, 6) == (
        [],
        {4: "it is not the first", 6: "it continues edits4.h5, which is left out"},
    )


@pytest.mark.parametrize("kind", MEASURED)
def test_a_measurement_of_an_earlier_checkpoint_is_left_out(measured, kind):
    path = Path(getattr(RUN.at(n=4), kind))
    before = Path(RUN.at(n=4).checkpoint).stat().st_mtime_ns - 1
    os.utime(path, ns=(before, before))
    assert found(2, 4, 6) == ([2, 6], {4: f"{path.name} measured an earlier one"})


def test_what_is_left_out_is_named_by_its_file(measured):
    edit(4, 2, variant="another")
    runs = Runs("e", ["m"], ["d"], ["a"], [0], [2, 4, 6])
    assert list(unfinished.left_out(runs)) == [
        "results/e/m/d/a/seed0/edits4.h5: scores4.csv, stability4.csv, perplexity4.csv measured an "
        "earlier one",
        "results/e/m/d/a/seed0/edits6.h5: it does not continue edits4.h5",
    ]
