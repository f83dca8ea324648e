"""Read facts from a data source and, if asked, mark those that the model knows."""

import argparse
import json
import logging
from functools import partial

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose.evaluation import knowledge
    from mose.facts import readers, requests
    from mose.models import loading
    from mose.storage import files

    source = json.loads(args.source) if args.source.startswith("{") else args.source
    objection = partial(knowledge.objection, loading.load_tokenizer(args.model))
    facts, report = readers.read_facts_of(
        source, args.form, args.conflicts, json.loads(args.columns), objection
    )
    logger.info("%s", report)
    if args.references:
        readers.check_references(report, args.source)
    if args.ask_model:
        lm = loading.load(args.model, args.device, args.dtype, args.gpus)
        facts = knowledge.mark_known(lm, facts)
    files.write_json(args.report, report.as_dict())
    requests.write_records(args.out, facts)


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    parser.add_argument(
        "--source",
        required=True,
        help="builtin, a file of records, or a data set of the hub as JSON",
    )
    parser.add_argument("--form", help="form of the records; default: detected from their fields")
    parser.add_argument(
        "--columns",
        default="{}",
        help="JSON: field of the plain form -> name of the source's column, where they differ",
    )
    parser.add_argument("--conflicts", required=True, choices=["refuse", "last", "all"])
    parser.add_argument(
        "--ask-model", action="store_true", help="mark the facts that the model knows"
    )
    parser.add_argument(
        "--references", action="store_true", help="refuse a data set without reference texts"
    )
    parser.add_argument("--out", required=True, help="facts.jsonl to write")
    parser.add_argument(
        "--report", required=True, help="JSON to write: counts of records read and refused"
    )
    programs.run(program, parser)
