"""Evaluate downstream tasks at a checkpoint or on the unedited model: one load for all of them."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    import logging
    import time

    import pandas as pd

    from mose.editing import chain
    from mose.evaluation.tasks import harness, items, scoring
    from mose.storage import files
    from mose.storage.records import write_jsonl

    lm = chain.open_model(args)
    rows, texts = [], []
    for path in args.tasks:
        prepared = items.read(path)
        begun = time.monotonic()
        evaluate = harness.evaluate if prepared.task.kind == "harness" else scoring.evaluate
        outcome = evaluate(lm, prepared)
        rows += outcome.rows
        texts += outcome.texts
        logging.info("%s: %.0f s", prepared.name, time.monotonic() - begun)
    with files.atomic(args.out) as temporary:
        pd.DataFrame(rows, columns=list(scoring.COLUMNS)).to_csv(temporary, index=False)
    write_jsonl(args.texts, texts)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    programs.chain_options(made, required=False)
    made.add_argument("--checkpoint", help="edits<n>.h5; none for the unedited model")
    made.add_argument("--tasks", nargs="+", required=True, help="tasks (scripts/prepare_task.py)")
    made.add_argument("--out", required=True, help="CSV to write, one row per item and metric")
    made.add_argument("--texts", required=True, help="JSON lines to write: generated answers")
    programs.run(program, made, "tasks")
