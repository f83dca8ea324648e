"""Records, prompts and samples; real files where they are at hand."""

import json
from collections import Counter

import pandas as pd
import pytest

from mose.errors import RequestError
from mose.evaluation.tasks import items, records
from mose.evaluation.tasks.definition import parse_task
from mose.facts.drawing import part_of

CHOICE = {
    "kind": "choice",
    "prompt": "{a} or {b}:",
    "choices": ["{a}", "{b}"],
    "label": "right",
}
ROWS = [{"a": f"x{i}", "b": f"y{i}", "right": i % 2} for i in range(9)]


def prepared(path, **entry):
    entry = {**CHOICE, "source": {"file": str(path)}, **entry}
    return items.prepare("mine", parse_task(entry, "tasks.mine"))


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_file_gives_the_same_items(tmp_path, rows, kind):
    path, frame = tmp_path / f"rows.{kind}", pd.DataFrame(ROWS)
    if kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind != "jsonl":
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    found = prepared(path)
    assert found.items == prepared(rows).items
    assert found.items[1] == items.Item(1, "x1 or y1:", ("x1", "y1"), 1)


def test_a_file_of_tabs_keeps_bare_quotation_marks(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('a\tb\tright\n"so he said\ty\t0\nsecond "one"\tz\t1\n')
    assert [item.choices[0] for item in prepared(path).items] == ['"so he said', 'second "one"']


def test_a_line_of_json_may_hold_other_line_ends(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**ROWS[0], "a": "one\u2028two\x85"}, ensure_ascii=False) + "\n")
    assert prepared(path).items[0].choices[0] == "one\u2028two\x85"


def test_lists_in_parquet_are_lists_of_answers(tmp_path):
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"q": ["who"], "a": [["one", "two"]]}).to_parquet(path)
    entry = {"kind": "generate", "prompt": "{q}", "answer": "a", "metrics": ["exact_match"]}
    assert prepared(path, **entry, choices=[], label="").items[0].answers == ("one", "two")


def test_the_text_of_a_perplexity_is_a_files_or_a_field_of_its_records(tmp_path):
    (tmp_path / "plain.txt").write_bytes(b"\xef\xbb\xbfOne.\r\nTwo.\n")
    (tmp_path / "rows.csv").write_text("\ufeffid;text\n1;One, and\n2;two.\n")
    texts = []
    for name in ("plain.txt", "rows.csv"):
        entry = {"kind": "perplexity", "field": "text", "source": {"file": str(tmp_path / name)}}
        texts.append(items.prepare("mine", parse_task(entry, "tasks.mine")).text)
    assert texts == ["One.\r\nTwo.\n", "One, and\n\ntwo."]


def test_a_larger_sample_holds_the_smaller_and_another_seed_does_not():
    small, large = items.draw(100, 10, 3), items.draw(100, 30, 3)
    assert set(small) < set(large)
    assert large == sorted(large)
    assert items.draw(100, 10, 4) != small
    assert items.draw(5, 10, 0) == [0, 1, 2, 3, 4]


def test_what_is_written_is_read_again(tmp_path, rows):
    made = prepared(rows, samples=4)
    items.write(tmp_path / "x.json", made)
    assert items.read(tmp_path / "x.json") == made


def test_examples_come_before_every_prompt_with_their_right_answers(rows):
    made = prepared(rows, description="Choose.", examples=[{"a": "p", "b": "q", "right": 1}])
    assert made.items[0].prompt == "Choose.\n\np or q: q\n\nx0 or y0:"


def test_the_last_word_of_a_text_is_its_answer(tmp_path):
    path = tmp_path / "last.jsonl"
    path.write_text(json.dumps({"text": "He gave her the ring"}) + "\n")
    entry = {"kind": "continuation", "prompt": "{context}", "answer": "word", "last_word": "text"}
    item = prepared(path, **entry, choices=[], label="").items[0]
    assert (item.prompt, item.answers) == ("He gave her the", ("ring",))


def test_braces_in_a_record_are_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": "{b} {0}", "b": "y", "right": 0}) + "\n")
    assert prepared(path).items[0].prompt == "{b} {0} or y:"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prompt": "{c}"}, "tasks.mine, record 0: no field 'c'"),
        ({"label": "a"}, "'a' is 'x0', expected one of 0, 1"),
        ({"labels": ["no", "yes"]}, "'right' is 0, expected one of no, yes"),
        ({"choices": "a"}, "field 'a' holds no list of choices"),
        ({"source": {"file": "none.tsv"}}, "none.tsv: no such file"),
        (
            {"kind": "generate", "answer": "z", "metrics": ["rouge"]},
            "field 'z' holds no answer: None",
        ),
    ],
)
def test_what_cannot_be_used_is_named(rows, changed, message):
    with pytest.raises(RequestError) as error:
        prepared(rows, **changed)
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "count"), [("sentiment", 64), ("inference", 64)])
def test_the_built_in_sets_are_balanced_and_without_repetition(name, count):
    found = records.builtin(name)
    assert len(found) == count
    assert set(Counter(record["label"] for record in found).values()) == {count // 2}
    texts = [tuple(v for k, v in record.items() if k != "label") for record in found]
    assert len(set(texts)) == count
    assert all(text and text == text.strip() for one in texts for text in one)


def test_built_in_facts_are_of_one_part_and_have_one_right_choice():
    found = records.builtin("facts", "tuning")
    facts = {fact.id: fact for fact in records.read_facts_of("builtin")[0]}
    assert len(found) > 200
    for record in found:
        fact = facts[record["id"]]
        assert part_of(fact.subject) == "tuning"
        assert record["choices"][record["label"]] == fact.target_true
        assert not {*fact.also, fact.target_true} & (set(record["choices"]) - {fact.target_true})
        assert len(set(record["choices"])) == len(record["choices"]) == 4
    places = Counter(record["label"] for record in found)
    assert min(places.values()) > len(found) / 8, "the right choice stands in every place"


def test_real_inference_has_entailment_as_label_0(real_data):
    entry = {
        "choices": ["True", "False"], "label": "label", "samples": 300,
        "prompt": "{sentence1}\nQuestion: {sentence2} True or False?\nAnswer:",
    }  # fmt: skip
    made = prepared(real_data / "tasks" / "rte.tsv", **entry)
    assert len(made.items) == 277
    accident, bacteria = made.items[:2]
    assert "Christopher Reeve had an accident. True or False?" in accident.prompt
    assert accident.choices[accident.label] == "False"
    assert "Bacteria is winning the war against antibiotics. True or False?" in bacteria.prompt
    assert bacteria.choices[bacteria.label] == "True"
