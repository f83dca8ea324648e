"""All tasks of an experiment on one loaded model."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mose.evaluation.tasks import harness, items, scoring
from mose.evaluation.tasks.scoring import Answers
from mose.models.causal_lm import CausalLM

logger = logging.getLogger(__name__)

COLUMNS = scoring.COLUMNS


def evaluate_all(lm: CausalLM, paths: Sequence[str | Path]) -> Answers:
    """Answers to all items of all tasks. paths: files written by `items.write`, one per task."""
    rows, texts = [], []
    for path in paths:
        prepared = items.read(path)
        started = time.monotonic()
        evaluate = harness.evaluate if prepared.task.kind == "harness" else scoring.evaluate
        answers = evaluate(lm, prepared)
        rows += answers.rows
        texts += answers.texts
        logger.info("%s: %.0f s", prepared.name, time.monotonic() - started)
    return Answers(rows, texts)
