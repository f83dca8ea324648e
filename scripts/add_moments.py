"""Add the second moments of all shards of a corpus."""

import argparse
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose.statistics import second_moments

    logger.info("%d tokens", second_moments.add_shards(args.shards, args.out))


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("shards", nargs="+", help="HDF5 files of second_moments.py")
    parser.add_argument("--out", required=True, help="HDF5 file to write")
    programs.run(program, parser)
