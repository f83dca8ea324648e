"""The runs of an experiment, as an option of the programs for tables and figures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from mose.experiment.paths import Paths


@dataclass(frozen=True)
class Runs:
    """The runs of an experiment, in the config's order.

    methods: labels. checkpoints: numbers of edits, ascending.
    """

    experiment: str
    models: list[str]
    datasets: list[str]
    methods: list[str]
    seeds: list[int]
    checkpoints: list[int]

    @classmethod
    def parse(cls, text: str) -> "Runs":
        """Parse a program's option: the fields as JSON."""
        return cls(**json.loads(text))

    @property
    def paths(self) -> Paths:
        """The paths of the experiment."""
        return Paths(experiment=self.experiment)

    def identities(self) -> Iterator[dict[str, str | int]]:
        """Model, data set, method and seed of every run."""
        for model in self.models:
            for dataset in self.datasets:
                for method in self.methods:
                    for seed in self.seeds:
                        yield {"model": model, "dataset": dataset, "method": method, "seed": seed}
