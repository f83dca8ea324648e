"""Facts that cannot be edited in a model's tokens are left out where facts are read."""

import json
from functools import partial

import pytest
import tiny

from mose.errors import RequestError
from mose.evaluation import knowledge
from mose.facts import readers

OBJECTION = partial(knowledge.objection, tiny.tokenizer())
REASON = "this model's tokens do not end where its subject ends, or spell it otherwise"


def records(tmp_path, *rows):
    path = tmp_path / "facts.json"
    keys = ("id", "prompt", "subject", "target_new")
    path.write_text(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    return str(path)


def test_a_subject_that_ends_within_a_token_is_refused_with_its_reason(tmp_path):
    # One token of this tokenizer holds "capital".
    path = records(
        tmp_path,
        ("whole", "The {} of", "capital", "Rome"),
        ("cut", "The {}l of", "capita", "Rome"),
    )
    facts, report = readers.read_facts_of(path, objection=OBJECTION)
    assert [fact.id for fact in facts] == ["whole"]
    assert report.as_dict()["refused"] == {REASON: 1}
    assert report.as_dict()["examples"] == {REASON: ["record 1 (id cut)"]}
    assert (report.read, report.kept) == (2, 1)


def test_where_no_fact_can_be_edited_the_error_says_why(tmp_path):
    path = records(tmp_path, ("cut", "The {}l of", "capita", "Rome"))
    with pytest.raises(
        RequestError, match=rf"none of 1 records can be used: {REASON} \(1, record 0"
    ):
        readers.read_facts_of(path, objection=OBJECTION)
