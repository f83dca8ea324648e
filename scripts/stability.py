"""Measure norms, spectrum and orthogonality of the edited matrices at a checkpoint."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import chain
    from mose.evaluation import stability
    from mose.models import loading

    state, unedited = chain.open_state(args)
    rows = stability.measure_state(state, unedited, loading.DTYPES[args.dtype])
    programs.write_table(args.out, rows, stability.COLUMNS)


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--model", required=True, help="manifest.json of the model")
    parser.add_argument("--dtype", default="float32", help="number format of the model's passes")
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    programs.chain_options(parser)
    parser.add_argument("--checkpoint", required=True, help="edits<n>.h5")
    parser.add_argument("--out", required=True, help="CSV to write, one row per layer")
    programs.run(program, parser, "stability")
