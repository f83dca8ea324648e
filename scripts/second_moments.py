"""Sum k k^T of every edited layer over one shard of the corpus, in one truncated pass."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.models import loading
    from mose.statistics import second_moments

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    shard = (args.shard, args.shards)
    second_moments.write_shard(
        args.out, lm, args.windows, args.layers, args.include_first, args.dtype, shard
    )


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--windows", required=True, help="HDF5 file of token windows")
    parser.add_argument("--layers", type=programs.layers, required=True, help="6, or 4-8, or 4_6-8")
    parser.add_argument(
        "--include-first", action="store_true", help="also count the first token of each window"
    )
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--out", required=True, help="HDF5 file to write")
    programs.run(program, parser, "second_moments")
