"""Find the value targets of one segment of requests on the unedited model."""

import argparse
import json

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.editing import shared_targets
    from mose.facts import drawing, requests
    from mose.methods.register import parse_variant
    from mose.models import loading
    from mose.storage import files

    variant = parse_variant(json.loads(args.variant), "--variant")
    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    order, templates = requests.read_requests(args.requests), files.read_json(args.templates)
    drawing.check_enough(len(order), args.last, args.requests)
    members = order[args.first : args.last]
    found = shared_targets.find(lm, members, templates, variant, args.batch)
    shared_targets.save(args.out, found, variant, lm.fingerprint, members, templates)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument("--variant", required=True, help="options of the targets, as JSON")
    parser.add_argument("--requests", required=True, help="requests.jsonl")
    parser.add_argument("--templates", required=True, help="context templates, JSON")
    parser.add_argument("--first", type=int, required=True, help="place of the first request")
    parser.add_argument("--last", type=int, required=True, help="place after the last request")
    parser.add_argument("--batch", type=int, required=True, help="requests sought at once")
    parser.add_argument("--out", required=True, help="targets<n>.h5 to write")
    programs.run(program, parser, "targets")
