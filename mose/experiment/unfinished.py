"""Which checkpoints of an experiment under way are finished, and which are left of an earlier run.

A chain that is edited again replaces its checkpoints one after another. Until it has, the later
ones, and measurements of all, may be those of the earlier run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path

from mose.experiment.paths import Paths
from mose.experiment.runs import Runs
from mose.storage import hdf5


@dataclass(frozen=True)
class Progress:
    """A run under way.

    finished: its checkpoints with all measurements. left_out: those that have all measurements as
    well, of which some are of an earlier run, with the reason.
    """

    finished: list[int] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


def progress(paths: Paths, checkpoints: Sequence[int]) -> Progress:
    """How far a run is.

    paths: of the run. checkpoints: all that it reaches, ascending. The unedited model needs its
    perplexity, and its scores on all requests up to the checkpoint.
    Raises StoreError for a damaged checkpoint.
    """
    found = Progress()
    if not Path(paths.unedited_perplexity).exists():
        return found
    broken = _breaks(paths, checkpoints)
    for n in takewhile(lambda n: Path(paths.at(n=n).unedited_scores).exists(), checkpoints):
        at = paths.at(n=n)
        measured = [Path(path) for path in (at.scores, at.stability, at.perplexity)]
        if not all(map(Path.exists, (Path(at.checkpoint), Path(at.immediate), *measured))):
            continue
        reason = broken.get(n) or _older(Path(at.checkpoint), measured)
        if reason:
            found.left_out[n] = reason
        else:
            found.finished.append(n)
    return found


def _breaks(paths: Paths, checkpoints: Sequence[int]) -> dict[int, str]:
    """Why a checkpoint does not descend from the run's first, by number of edits."""
    broken: dict[int, str] = {}
    digests = {0: ""}  # the first checkpoint has no parent
    for before, n in pairwise([0, *checkpoints]):
        path = Path(paths.at(n=n).checkpoint)
        if not path.exists():
            continue
        contents = hdf5.read(path, "checkpoint", [])
        digests[n] = contents.digest
        parent = Path(paths.at(n=before).checkpoint).name
        if before in broken:
            broken[n] = f"it continues {parent}, which is left out"
        elif before not in digests:
            broken[n] = f"{parent}, which it continues, is not there"
        elif contents.attributes["parent"] != digests[before]:
            broken[n] = f"it does not continue {parent}" if before else "it is not the first"
    return broken


def _older(checkpoint: Path, measured: Sequence[Path]) -> str | None:
    """The reason to leave out a checkpoint that is newer than one of its measurements."""
    made = checkpoint.stat().st_mtime_ns
    older = [path.name for path in measured if path.stat().st_mtime_ns < made]
    return f"{', '.join(older)} measured an earlier one" if older else None


def left_out(runs: Runs) -> Iterator[str]:
    """A line for each checkpoint that tables of the experiment under way leave out, and why."""
    for identity in runs.identities():
        paths = runs.paths.at(**identity)
        for n, reason in progress(paths, runs.checkpoints_of(identity["method"])).left_out.items():
            yield f"{paths.at(n=n).checkpoint}: {reason}"
