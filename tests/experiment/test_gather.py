"""Tables of an experiment, from its files."""

import pytest

from mose.errors import StoreError
from mose.experiment import gather
from mose.experiment.runs import Runs


def test_an_experiment_of_which_nothing_is_finished_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = Runs("e", ["m"], ["d"], ["a"], [0], [2])
    with pytest.raises(StoreError, match="results/e: no checkpoint is measured yet"):
        gather.experiment_tables(runs, 1, consistency=False, finished=True)
