"""The leaderboard: one row a method and number of edits, over the tables of several runs."""

from collections.abc import Callable

import pandas as pd

from mose.report.ranking import RANKED_BY
from mose.report.tables import RATIOS, harmonic_mean

# How a run and its rows are named in the file of runs.
RUN_COLUMNS = ["run", "table", "targets", "commit", "command"]


def leaderboard(runs: pd.DataFrame, read: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Rows of all runs, by number of edits, the best first.

    runs: RUN_COLUMNS and edits (the checkpoint that counts), a row per run. read: the summary
    (`summary.csv`) that a name of a table stands for.
    Columns: edits, method, score (harmonic mean of reliability, generalization and locality, each
    a mean over seeds), these three, perplexity_ratio (to the unedited model of the same run, which
    has its own text), frobenius_ratio, condition_ratio, seeds, targets, run, commit.
    """
    parts = []
    for run in runs.to_dict("records"):
        summary = read(run["table"])
        before = summary[summary["edits"] == 0].groupby("seed")["perplexity"].first()
        last = summary[summary["edits"] == run["edits"]]
        last = last.assign(perplexity_ratio=last["perplexity"] / last["seed"].map(before))
        measures = [*RANKED_BY, "perplexity_ratio", *RATIOS]
        part = last.groupby("method", sort=False)[measures].mean().reset_index()
        part["seeds"] = last.groupby("method", sort=False)["seed"].nunique().to_numpy()
        part.insert(1, "score", harmonic_mean(part[RANKED_BY].to_numpy(dtype="float64")))
        own = {name: run[name] for name in ("targets", "run", "commit")}
        parts.append(part.assign(edits=run["edits"], **own))
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "edits", table.pop("edits"))
    return table.sort_values(["edits", "score"], ascending=[True, False], kind="stable")
