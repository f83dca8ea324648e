"""Read facts from a data source and, if asked, find out which of them the model knows."""

import argparse
import dataclasses
import json
import logging

from mose.cli import programs

logger = logging.getLogger(__name__)


def program(args: argparse.Namespace) -> None:
    from mose import errors
    from mose.evaluation import prompt_scores
    from mose.facts import drawing, readers, requests
    from mose.models import loading
    from mose.storage import files

    source = json.loads(args.source) if args.source.startswith("{") else args.source
    facts, report = readers.read_facts_of(
        source, args.form, args.conflicts, json.loads(args.columns)
    )
    logger.info("%s", report)
    if args.references and not report.prompts["references"]:
        raise errors.RequestError(
            f"{args.source}: measure.consistency compares with reference texts, and none of the "
            f"{report.kept} records has any (field references); add them, or set it to false"
        )
    if args.ask_model:
        lm = loading.load(args.model, args.device, args.dtype, args.gpus)
        scores = prompt_scores.score_targets(lm, [(fact.text, fact.target_true) for fact in facts])
        facts = [
            dataclasses.replace(fact, known=0 < score.tokens == score.right)
            for fact, score in zip(facts, scores, strict=True)
        ]
        logger.info("%s", drawing.knowledge_report(facts))
    files.write_json(args.report, report.as_dict())
    requests.write_records(args.out, facts)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    made.add_argument(
        "--source",
        required=True,
        help="builtin, a file of records, or a data set of the hub as JSON",
    )
    made.add_argument("--form", help="the records' form; default: told by their fields")
    made.add_argument(
        "--columns",
        default="{}",
        help="JSON: names of the source's fields by ours, where they differ",
    )
    made.add_argument("--conflicts", required=True, choices=["refuse", "last", "all"])
    made.add_argument("--ask-model", action="store_true", help="mark the facts the model knows")
    made.add_argument(
        "--references", action="store_true", help="refuse a data set without reference texts"
    )
    made.add_argument("--out", required=True, help="facts.jsonl to write")
    made.add_argument("--report", required=True, help="report (JSON) of what was read and refused")
    programs.run(program, made)
