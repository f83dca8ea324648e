"""Which checkpoints of a run are finished, told by the files that are there."""

from pathlib import Path

import pytest

from mose.errors import StoreError
from mose.experiment import gather
from mose.experiment.paths import Paths
from mose.experiment.runs import Runs

RUN = Paths(experiment="e", model="m", dataset="d", method="a", seed=0)
KINDS = ("checkpoint", "immediate", "scores", "stability", "perplexity")


def touch(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A folder in which three checkpoints of a run are measured."""
    monkeypatch.chdir(tmp_path)
    touch(RUN.unedited_perplexity)
    for n in (2, 4, 6):
        touch(RUN.at(n=n).unedited_scores)
        for kind in KINDS:
            touch(getattr(RUN.at(n=n), kind))


def test_all_that_is_measured_is_finished(measured):
    assert gather.finished_checkpoints(RUN, [2, 4, 6, 8]) == [2, 4, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_measurement_leaves_its_checkpoint_out(measured, kind):
    Path(getattr(RUN.at(n=4), kind)).unlink()
    assert gather.finished_checkpoints(RUN, [2, 4, 6]) == [2, 6]


def test_a_checkpoint_needs_the_unedited_scores_of_all_requests_before_it(measured):
    Path(RUN.at(n=4).unedited_scores).unlink()
    assert gather.finished_checkpoints(RUN, [2, 4, 6]) == [2]


def test_without_the_unedited_perplexity_nothing_is_finished(measured):
    Path(RUN.unedited_perplexity).unlink()
    assert gather.finished_checkpoints(RUN, [2, 4, 6]) == []


def test_an_experiment_of_which_nothing_is_finished_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = Runs("e", ["m"], ["d"], ["a"], [0], [2])
    with pytest.raises(StoreError, match="results/e: no checkpoint is measured yet"):
        gather.experiment_tables(runs, 1, consistency=False, finished=True)
