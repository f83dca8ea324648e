"""The runs of an experiment, as an option of the programs for tables and figures."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mose.experiment.paths import Paths
from mose.storage.files import read_option


@dataclass(frozen=True)
class Runs:
    """The runs of an experiment, in the config's order.

    methods: labels. checkpoints: numbers of edits, ascending. ends: number of edits of the methods
    that stop earlier.
    """

    experiment: str
    models: list[str]
    datasets: list[str]
    methods: list[str]
    seeds: list[int]
    checkpoints: list[int]
    ends: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Runs":
        """Parse a program's option: the fields as JSON, or a file with them."""
        return cls(**read_option(text))

    @property
    def paths(self) -> Paths:
        """The paths of the experiment."""
        return Paths(experiment=self.experiment)

    def checkpoints_of(self, method: object) -> list[int]:
        """The checkpoints that a method reaches."""
        end = self.ends.get(str(method), self.checkpoints[-1])
        return [n for n in self.checkpoints if n <= end]

    def identities(self) -> Iterator[dict[str, str | int]]:
        """Model, data set, method and seed of every run."""
        for model in self.models:
            for dataset in self.datasets:
                for method in self.methods:
                    for seed in self.seeds:
                        yield {"model": model, "dataset": dataset, "method": method, "seed": seed}
