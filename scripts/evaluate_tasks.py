"""Evaluate downstream tasks at a checkpoint or on the unedited model."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.evaluation.tasks import evaluation
    from mose.storage.records import write_jsonl

    if args.checkpoint:
        from mose.editing import chain

        lm = chain.open_model(args)
    else:
        from mose.models import loading

        lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    answers = evaluation.evaluate_all(lm, args.tasks)
    programs.write_table(args.out, answers.rows, evaluation.COLUMNS)
    write_jsonl(args.texts, answers.texts)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    programs.chain_options(parser, required=False)
    parser.add_argument("--checkpoint", help="edits<n>.h5; omit for the unedited model")
    parser.add_argument("--tasks", nargs="+", required=True, help="files of prepare_task.py")
    parser.add_argument("--out", required=True, help="CSV to write, one row per item and metric")
    parser.add_argument("--texts", required=True, help="JSON lines to write: generated answers")
    programs.run(program, parser, "tasks")
