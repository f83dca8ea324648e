"""Data sets of questions and answers: WikiBigEdit, UltraEditBench, QAEdit.

Field names are those that the authors' programs, or programs that read the released files, use;
they are named at each reader. The edit prompt is a question, and its answer is the new object.
"""

import math
from typing import Any

from mose.facts import fields
from mose.facts.fields import Record
from mose.facts.requests import Fact, Probe

# KnowEdit's name for questions that need a further fact; and WikiBigEdit's own.
MULTI_HOP = "Reasoning"
PERSONAS = "personas"


def read_wikibigedit(record: Record, name: str) -> Fact:
    """WikiBigEdit (Thede et al. 2025, arXiv 2503.05683): update, ans, rephrase, personas, loc,
    loc_ans, mhop, mhop_ans.

    Fields as released (lukasthede/WikiBigEdit) and read by EasyEdit's example for UltraEdit. As in
    the authors' evaluation (`run_lifelong_edit.py`), the question in a persona's words and the
    multi-hop question are portability. Few records have the latter.
    """
    answer = fields.filled(record["ans"], "ans")
    return Fact(
        id=name,
        subject=fields.filled(record["subject"], "subject"),
        prompt=fields.with_placeholder(record["update"], record["subject"], "update"),
        target_true="",
        target_new=answer,
        relation=_given(record, "relation"),
        paraphrases=(record["rephrase"],),
        locality=(Probe(_given(record, "loc"), _given(record, "loc_ans")),),
        portability=(
            *_asked(_given(record, "personas"), answer, PERSONAS),
            *_asked(_given(record, "mhop"), _given(record, "mhop_ans"), MULTI_HOP),
        ),
    )


def read_ultraeditbench(record: Record, name: str) -> Fact:
    """UltraEditBench (Gu et al. 2025, arXiv 2505.14679): prompt, rephrase_prompt, ans, loc,
    loc_ans, subject.

    Fields as read by EasyEdit's example for UltraEdit and by data/ultraeditbench.py, the loader of
    the authors' program as others publish it.
    """
    return Fact(
        id=name,
        subject=fields.filled(record["subject"], "subject"),
        prompt=fields.with_placeholder(record["prompt"], record["subject"]),
        target_true="",
        target_new=fields.filled(record["ans"], "ans"),
        paraphrases=(record["rephrase_prompt"],),
        locality=(Probe(_given(record, "loc"), _given(record, "loc_ans")),),
    )


def read_qaedit(record: Record, name: str) -> Fact:
    """QAEdit (Yang et al. 2025, arXiv 2502.11177): prompt, target, subject, rephrase, locality, a
    list of {loc, loc_ans}.

    Fields of data/QAEdit_inter_1k.json in the authors' repository, which has five locality
    questions a record; their own evaluation (`edit.py`) asks the first.
    """
    return Fact(
        id=name,
        subject=fields.filled(record["subject"], "subject"),
        prompt=fields.with_placeholder(record["prompt"], record["subject"]),
        target_true="",
        target_new=fields.filled(record["target"], "target"),
        paraphrases=(record["rephrase"],),
        locality=tuple(
            Probe(_given(one, "loc"), _given(one, "loc_ans")) for one in record["locality"]
        ),
    )


def _asked(prompt: str, answer: str, kind: str) -> tuple[Probe, ...]:
    return (Probe(prompt, answer, kind),) if prompt else ()


def _given(record: Record, key: str) -> str:
    """A text field; "" where the record has none (files written by pandas say NaN)."""
    value: Any = record.get(key)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return fields.text(value, key)
