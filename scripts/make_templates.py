"""Sample the context templates of one seed from the model."""

import argparse
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    import torch

    from mose.models import loading
    from mose.statistics import templates
    from mose.storage import files

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    generator = torch.Generator().manual_seed(args.seed)
    contexts = templates.context_templates(lm, generator, args.length, args.per_starter)
    for context in contexts:
        logger.info("template: %s", context)
    files.write_json(args.out, contexts)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--length", type=int, default=10, help="tokens per context")
    parser.add_argument("--per-starter", type=int, default=1, help="contexts per starting word")
    parser.add_argument("--out", required=True, help="JSON file to write")
    programs.run(program, parser, "templates")
