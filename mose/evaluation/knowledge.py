"""Which facts a model knows, and which of them can be edited in its tokens."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mose.errors import RequestError
from mose.evaluation import prompt_scores
from mose.facts.drawing import knowledge_report
from mose.facts.requests import Fact
from mose.models.causal_lm import CausalLM
from mose.models.tokens import encode_edit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def mark_known(lm: CausalLM, facts: Sequence[Fact]) -> list[Fact]:
    """The facts with `known` set: whether the model predicts every token of the true object. False
    for facts without one."""
    scores = prompt_scores.score_targets(lm, [(fact.text, fact.target_true) for fact in facts])
    marked = [
        dataclasses.replace(fact, known=0 < score.tokens == score.right)
        for fact, score in zip(facts, scores, strict=True)
    ]
    logger.info("%s", knowledge_report(marked))
    return marked


def objection(tokenizer: PreTrainedTokenizerBase, fact: Fact) -> str | None:
    """Why the fact cannot be edited in a model with this tokenizer; None if it can.

    A token may hold the subject's last letters and what follows them ("S.p.A.," ends with ".,").
    The hidden state there is not that of the subject alone.
    """
    try:
        encode_edit(tokenizer, "{}", fact.prompt, fact.subject)
    except RequestError:
        return "this model's tokens do not end where its subject ends, or spell it otherwise"
    return None
