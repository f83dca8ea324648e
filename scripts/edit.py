"""Edit one segment of the sequence: from one checkpoint to the next."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import chain, checkpoints
    from mose.evaluation import segments
    from mose.models import loading

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    run = chain.open_chain(args)
    state, rows = segments.edit_segment(
        lm, run, args.last, args.previous, args.requests, args.targets, args.solve_on
    )
    programs.write_table(args.immediate, rows, segments.COLUMNS)
    checkpoints.save(args.out, state, run.identity(lm.fingerprint), run.requests)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    programs.chain_options(parser)
    parser.add_argument(
        "--previous", help="checkpoint to continue from; omit for the first segment"
    )
    parser.add_argument(
        "--solve-on", choices=["model", "host"], default="model", help="where updates are solved"
    )
    parser.add_argument("--targets", help="targets<n>.h5 of the segment; omit to seek them")
    parser.add_argument(
        "--last", type=int, required=True, help="number of edits at the end of the segment"
    )
    parser.add_argument("--out", required=True, help="checkpoint to write")
    parser.add_argument(
        "--immediate", required=True, help="CSV to write: scores right after each batch"
    )
    programs.run(program, parser, "edit")
