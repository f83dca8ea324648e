"""Write one shard of a corpus, or its held-out part, as windows of token ids."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.models import loading
    from mose.statistics import corpus

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    corpus.write_part(args.out, lm, json.loads(args.options), args.part)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--options", required=True, help="the config's `corpus` block, as JSON")
    parser.add_argument("--part", required=True, help="heldout, or windows0, windows1, ...")
    parser.add_argument("--out", required=True, help="HDF5 file to write")
    programs.run(program, parser, "corpus")
