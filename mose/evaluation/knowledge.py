"""Which facts a model knows: those where it predicts every token of the true object."""

import dataclasses
import logging
from collections.abc import Sequence

from mose.evaluation import prompt_scores
from mose.facts.drawing import knowledge_report
from mose.facts.requests import Fact
from mose.models.causal_lm import CausalLM

logger = logging.getLogger(__name__)


def mark_known(lm: CausalLM, facts: Sequence[Fact]) -> list[Fact]:
    """The facts with `known` set; False for facts without a true object."""
    scores = prompt_scores.score_targets(lm, [(fact.text, fact.target_true) for fact in facts])
    marked = [
        dataclasses.replace(fact, known=0 < score.tokens == score.right)
        for fact, score in zip(facts, scores, strict=True)
    ]
    logger.info("%s", knowledge_report(marked))
    return marked
