"""Gather all measurements of an experiment into tables, and print the summary."""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from mose.cli import programs
from mose.errors import StoreError
from mose.evaluation import fluency
from mose.facts import requests
from mose.report import intervals, latex, pages, prompt_metrics, retention, tables
from mose.storage import files, hdf5

MEASURED = ("scores", "immediate", "stability", "perplexity")


def runs(plan: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Path, Path]]:
    """Each run's identity, its folder, and the folder of the unedited model's scores."""
    for model in plan["models"]:
        for dataset in plan["datasets"]:
            root = Path("results", plan["experiment"], model, dataset)
            for method in plan["methods"]:
                for seed in plan["seeds"]:
                    identity = {"model": model, "dataset": dataset, "method": method, "seed": seed}
                    yield identity, root / method / f"seed{seed}", root / "unedited" / f"seed{seed}"


def finished(folder: Path, unedited: Path, checkpoints: list[int]) -> list[int]:
    """The checkpoints of a run that are measured, as far as the unedited model's answers reach."""
    if not (folder.parents[2] / "unedited" / "perplexity.csv").exists():
        return []
    names = ("edits{}.h5", *(f"{name}{{}}.csv" for name in MEASURED))
    known = takewhile(lambda n: (unedited / f"scores{n}.csv").exists(), checkpoints)
    return [n for n in known if all((folder / name.format(n)).exists() for name in names)]


def read_scores(path: Path) -> pd.DataFrame:
    """A scores file, ids as text."""
    return pd.read_csv(path, dtype=tables.SCORE_DTYPES, keep_default_na=False)


def read_references(path: Path) -> dict[str, Any]:
    """The reference texts of each request that has some, joined, and the weights of their terms."""
    found = {request.id: request.references for request in requests.read_requests(path)}
    return {
        "references": {name: " ".join(texts) for name, texts in found.items() if texts},
        "tfidf": fluency.Tfidf(text for texts in found.values() for text in texts),
    }


def program(args: argparse.Namespace) -> None:
    plan = json.loads(args.plan)
    found: dict[str, list[pd.DataFrame]] = {
        "metrics": [],
        "stability": [],
        "perplexity": [],
        "requests": [],
    }
    for identity, folder, unedited_folder in runs(plan):
        asked_for = plan["checkpoints"]
        checkpoints = finished(folder, unedited_folder, asked_for) if args.finished else asked_for
        if not checkpoints:
            continue
        segments = [n for n in asked_for if n <= checkpoints[-1]]
        unedited = pd.concat(
            [read_scores(unedited_folder / f"scores{n}.csv") for n in segments],
            ignore_index=True,
        )

        asked = folder.parents[1] / folder.name / "requests.jsonl"
        compared = read_references(asked) if plan["consistency"] else {}
        judged = partial(prompt_metrics.score_metrics, unedited=unedited, **compared)

        def add(table: str, frame: pd.DataFrame, **names: Any) -> None:
            found[table].append(tables.identify(frame, **names))

        add("metrics", judged(unedited), **identity, edits=0, when="retention")
        model_folder = folder.parents[2]
        unedited_perplexity = pd.read_csv(model_folder / "unedited" / "perplexity.csv")
        add("perplexity", unedited_perplexity, **identity, edits=0)
        for edits in checkpoints:
            at = {**identity, "edits": edits}
            scores = judged(read_scores(folder / f"scores{edits}.csv"))
            add("metrics", scores, **at, when="retention")
            add("stability", pd.read_csv(folder / f"stability{edits}.csv"), **at)
            add("perplexity", pd.read_csv(folder / f"perplexity{edits}.csv"), **at)
            fresh = judged(read_scores(folder / f"immediate{edits}.csv"))
            # A batch's immediate scores belong to the number of edits at which it was done.
            for end, part in fresh.groupby((fresh["order"] // plan["batch"] + 1) * plan["batch"]):
                add("metrics", part, **identity, edits=end, when="immediate")
        add("requests", read_record(folder / f"edits{checkpoints[-1]}.h5"), **identity)
    if not found["metrics"]:
        raise StoreError(
            f"results/{plan['experiment']}: no checkpoint is measured yet together with "
            "the unedited model's answers and perplexity"
        )
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}
    metrics = joined["metrics"] = joined["metrics"][tables.METRICS]
    summary = tables.summarize(metrics, joined["stability"], joined["perplexity"])
    joined["summary"] = summary
    joined["summary_intervals"] = intervals.summary_intervals(metrics)
    joined["means"] = intervals.means_with_intervals(metrics)
    joined["protocols"] = tables.protocols(metrics)
    joined["immediate"] = tables.immediate(metrics)
    joined["retention_matrix"] = pd.concat(
        [retention.retention_matrix(metrics, name) for name in tables.SCORES], ignore_index=True
    )
    joined["forgetting_curves"] = retention.forgetting_curves(joined["retention_matrix"])
    out = Path(args.out)
    for name, frame in joined.items():
        with files.atomic(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    table = latex.summary_table(summary, joined["summary_intervals"])
    files.write_text(out / "summary.tex", table)
    text = pages.format_summary(summary)
    files.write_text(out / "summary.txt", text if text.endswith("\n") else f"{text}\n")


def read_record(path: Path) -> pd.DataFrame:
    """The per-request record of a checkpoint: steps, loss, attained fraction, seconds."""
    # Methods that are trained have no attained fraction: None, which is to be a missing number.
    return pd.DataFrame(hdf5.read_record(path)).astype({"attained": float})


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--plan", required=True, help="what the experiment consists of, as JSON")
    made.add_argument("--finished", action="store_true", help="leave out what is not measured yet")
    made.add_argument("--out", required=True, help="folder for the tables")
    programs.run(program, made)
