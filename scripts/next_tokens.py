"""Compare a checkpoint's next-token distributions with the unedited model's."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import chain, sequence
    from mose.evaluation import measurement, next_tokens
    from mose.models import loading
    from mose.statistics import second_moments
    from mose.storage import hdf5

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    run = chain.open_chain(args)
    weights = {layer: lm.weight(layer) for layer in run.variant.edit.layers}
    state = run.read_checkpoint(args.checkpoint, weights, lm.fingerprint)
    windows = hdf5.read(args.heldout, "windows")
    second_moments.check_model(args.heldout, windows, lm.fingerprint)
    selection = measurement.Selection(0, state.edits, args.earlier, args.recent_from)
    places = selection.scored(run.requests)
    asked = run.asked
    rows = next_tokens.compare(
        lm,
        lambda: sequence.put_into(lm, state, measured=True),
        [run.requests[place] for place in places],
        places,
        windows.arrays["ids"],
        [asked[place] for place in places],
    )
    programs.write_table(args.out, rows, next_tokens.COLUMNS)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    programs.chain_options(parser)
    parser.add_argument("--checkpoint", required=True, help="edits<n>.h5")
    parser.add_argument("--heldout", required=True, help="HDF5 file of token windows")
    parser.add_argument(
        "--earlier",
        type=int,
        help="number of requests before --recent-from to compare; all if omitted",
    )
    parser.add_argument(
        "--recent-from", type=int, default=0, help="first request from which all are compared"
    )
    parser.add_argument("--out", required=True, help="CSV to write, a row per prompt and window")
    programs.run(program, parser, "next_tokens_of")
