"""Write the edited model of a checkpoint as a directory of transformers."""

import argparse
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import chain, export
    from mose.editing.in_context import refuse_unedited
    from mose.storage import files

    run = chain.open_chain(args)
    refuse_unedited(run.variant)
    lm = chain.open_model(args)
    record = export.record_of(lm, args.name, args.settings, run.variant, run.requests[: args.last])
    directory = Path(files.read_json(args.model)["directory"])
    export.save_directory(lm, args.out, export.own_dtype(directory, lm.model.dtype), record)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    programs.chain_options(parser)
    parser.add_argument("--checkpoint", required=True, help="edits<n>.h5")
    parser.add_argument("--last", type=int, required=True, help="edits of the checkpoint")
    parser.add_argument("--name", required=True, help="name of the unedited model")
    parser.add_argument("--settings", required=True, help="where the options come from, in words")
    parser.add_argument("--out", required=True, help="folder to write")
    programs.run(program, parser, "exported")
