"""Checks on the built-in table of facts (mose/data)."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml

DATA = Path(__file__).parents[2] / "mose" / "data"

with open(DATA / "facts.csv", encoding="utf-8", newline="") as handle:
    READER = csv.DictReader(handle)
    FACTS = list(READER)
    HEADER = READER.fieldnames

RELATIONS = yaml.safe_load((DATA / "relations.yaml").read_text(encoding="utf-8"))


def also(fact):
    return fact["also"].split("|") if fact["also"] else []


def test_header():
    assert HEADER == ["relation", "subject", "object", "also"]


def test_enough_facts():
    assert len(FACTS) >= 600


def test_no_duplicates():
    counts = Counter((f["relation"], f["subject"]) for f in FACTS)
    assert [key for key, n in counts.items() if n > 1] == []


def test_fields_filled_and_trimmed():
    for fact in FACTS:
        assert None not in [*fact, *fact.values()], fact
        answers = [fact[name] for name in ("relation", "subject", "object")] + also(fact)
        for text in answers:
            assert text, fact
            assert text == text.strip(), fact
            assert not {"|", "{"} & set(text), fact


def test_object_not_in_also():
    for fact in FACTS:
        assert fact["object"] not in also(fact), fact
        assert len(set(also(fact))) == len(also(fact)), fact


def test_object_differs_from_subject():
    for fact in FACTS:
        assert fact["object"] != fact["subject"], fact


def test_sorted():
    keys = [(f["relation"], f["subject"]) for f in FACTS]
    assert keys == sorted(keys)


def test_same_relations_in_both_files():
    assert {f["relation"] for f in FACTS} == set(RELATIONS)


def test_enough_facts_and_objects_per_relation():
    objects = defaultdict(list)
    for fact in FACTS:
        objects[fact["relation"]].append(fact["object"])
    for relation, values in objects.items():
        assert len(values) >= 40, relation
        assert len(set(values)) >= 4, relation


@pytest.mark.parametrize("relation", sorted(RELATIONS))
def test_prompts(relation):
    entry = RELATIONS[relation]
    assert set(entry) == {"description", "prompt", "paraphrases"}
    assert entry["description"].strip()
    assert "\n" not in entry["description"]
    assert len(entry["paraphrases"]) == 2
    texts = [entry["prompt"], *entry["paraphrases"]]
    assert len(set(texts)) == 3
    for text in texts:
        assert text.count("{}") == 1
        assert text.count("{") == text.count("}") == 1
        assert text == text.strip()
        assert not text.endswith("{}")
