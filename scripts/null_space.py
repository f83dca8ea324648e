"""How large AlphaEdit's null space is: its rank, and what of the keys' energy falls into it."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.methods.alphaedit import null_share, protected_directions
    from mose.methods.options import parse_variant
    from mose.models import loading
    from mose.statistics import second_moments
    from mose.storage import hdf5

    options = parse_variant(json.loads(args.variant), "--variant").edit
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    text = hdf5.read(args.heldout, "windows")
    second_moments.check_model(args.heldout, text, lm.fingerprint)
    sums, count = second_moments.accumulate(lm, text.arrays["ids"], options.layers, False)
    moments = second_moments.load(args.moments, options.layers, lm.fingerprint)
    rows = []
    for layer, moment in moments.items():
        protected = protected_directions(moment.matrix, options)
        rows.append(
            {
                "layer": layer,
                "width": protected.shape[0],
                "rank": protected.shape[0] - protected.shape[1],
                "corpus_share": null_share(moment.matrix, protected),
                "heldout_share": null_share(sums[layer] / count, protected),
                "heldout_tokens": count,
            }
        )
    programs.write_table(args.out, rows)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--variant", required=True, help="method and options, as JSON")
    parser.add_argument("--moments", required=True, help="moments.h5")
    parser.add_argument("--heldout", required=True, help="HDF5 file of token windows")
    parser.add_argument("--out", required=True, help="CSV to write, one row per layer")
    programs.run(program, parser, "null_space")
