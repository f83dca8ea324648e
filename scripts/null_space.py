"""Measure AlphaEdit's null space: its rank, and the share of the keys' energy in it."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.evaluation import null_space
    from mose.methods.register import parse_variant
    from mose.models import loading
    from mose.statistics import second_moments
    from mose.storage import hdf5

    options = parse_variant(json.loads(args.variant), "--variant").edit
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    text = hdf5.read(args.heldout, "windows")
    second_moments.check_model(args.heldout, text, lm.fingerprint)
    rows = null_space.measure(lm, args.moments, text.arrays["ids"], options)
    programs.write_table(args.out, rows, null_space.COLUMNS)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--variant", required=True, help="method and options, as JSON")
    parser.add_argument("--moments", required=True, help="moments.h5")
    parser.add_argument("--heldout", required=True, help="HDF5 file of token windows")
    parser.add_argument("--out", required=True, help="CSV to write, one row per layer")
    programs.run(program, parser, "null_space")
