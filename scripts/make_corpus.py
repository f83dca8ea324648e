"""Make one shard of a corpus, or its held-out part, as windows of token ids."""

import argparse
import json
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose.models import loading
    from mose.statistics import corpus
    from mose.storage import files, hdf5

    options = json.loads(args.options)
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    windows = corpus.part(lm, options, args.part)
    logger.info("%s: %d windows of %d tokens", args.part, *windows.shape)
    attributes = {"model": lm.fingerprint, "options": files.digest_of(options), "part": args.part}
    hdf5.write(args.out, "windows", {"ids": windows}, attributes)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--options", required=True, help="the config's `corpus` block, as JSON")
    parser.add_argument("--part", required=True, help="heldout, or windows0, windows1, ...")
    parser.add_argument("--out", required=True, help="HDF5 file to write")
    programs.run(program, parser, "corpus")
