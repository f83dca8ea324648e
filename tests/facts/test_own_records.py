"""A user's own file: its columns are named, or what is wrong is said in one short line."""

import json

import pandas as pd
import pytest

from mose.errors import RequestError
from mose.experiment.blocks import DataSet
from mose.facts import fields, readers
from mose.facts.forms import PLAIN_FIELDS
from mose.facts.requests import Fact

PLAIN = {"subject": "France", "prompt": "The capital of {} is", "target_new": "Rome"}
OTHER = {"Subj": "France", "prompt": "The capital of {} is", "answer": "Rome"}
COLUMNS = {"subject": "Subj", "target_new": "answer"}


def written(path, records, **options):
    frame = pd.DataFrame(records)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        frame.to_csv(path, index=False, **options)
    return str(path)


def refusal(source, *options, **more):
    with pytest.raises(RequestError) as error:
        readers.read_facts_of(source, *options, **more)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(source)


@pytest.mark.parametrize("end", ["csv", "tsv", "parquet", "json"])
def test_columns_name_a_files_fields_by_ours(tmp_path, end):
    options = {"sep": "\t"} if end == "tsv" else {}
    path = written(tmp_path / f"own.{end}", [OTHER, {**OTHER, "Subj": "Spain"}], **options)
    facts, report = readers.read_facts_of(path, columns=COLUMNS)
    assert [(fact.subject, fact.target_new) for fact in facts] == [
        ("France", "Rome"), ("Spain", "Rome"),
    ]  # fmt: skip
    assert not report.ignored


def test_columns_may_swap_fields(tmp_path):
    path = written(tmp_path / "own.json", [{**PLAIN, "target_true": "Paris"}, {**PLAIN, "id": "b"}])
    swapped = {"target_new": "target_true", "target_true": "target_new"}
    facts, report = readers.read_facts_of(path, columns=swapped)
    assert facts == [
        Fact("0", "France", "The capital of {} is", target_new="Paris", target_true="Rome")
    ]
    assert report.refused == {"missing or empty field 'target_new'": 1}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"subject": "subj"},
            "datasets.*.columns.subject: {} has no field 'subj'; did you mean 'Subj'?; "
            "it has Subj, prompt, answer",
        ),
        ({"subject": "entity"}, ".subject: {} has no field 'entity'; it has Subj, prompt, answer"),
        ({"sujbect": "Subj"}, "columns: unknown field 'sujbect'; did you mean 'subject'?"),
        ({"colour": "Subj"}, "columns: unknown field 'colour'; known are subject, prompt,"),
    ],
)
def test_unknown_columns_are_refused_with_those_there_are(tmp_path, columns, message):
    path = written(tmp_path / "own.csv", [OTHER])
    assert message.format(path) in refusal(path, columns=columns)
    assert "remove it" in refusal("builtin", columns=columns)


def test_columns_are_those_of_the_configuration():
    columns = DataSet.model_json_schema()["properties"]["columns"]
    assert sorted(columns["propertyNames"]["enum"]) == sorted(PLAIN_FIELDS)


@pytest.mark.parametrize(
    ("names", "missing", "hint"),
    [
        (
            ["Subject", "Prompt", "Target_New", "note"],
            "subject, prompt, target_new",
            "did you mean datasets.*.columns: {subject: Subject, prompt: Prompt, "
            "target_new: Target_New}? ",
        ),
        (["Subj", "prompt", "answer"], "subject, target_new",
         "did you mean datasets.*.columns: {subject: Subj}? "),
        (["subject", "prompt", "target_true", "target"], "target_new",
         "did you mean datasets.*.columns: {target_new: target}? "),
        (["subject", "prompt", "Target true"], "target_new", "set datasets.*.columns; "),
        (["question", "answer"], "subject, prompt, target_new", "set datasets.*.columns; "),
    ],
)  # fmt: skip
def test_other_columns_are_answered_in_one_line(tmp_path, names, missing, hint):
    for separator in ",;":
        path = written(tmp_path / "own.csv", [dict.fromkeys(names, "x")], sep=separator)
        said = refusal(path)
        expected = f", line 2: fields {', '.join(names)}; missing {missing}; {hint}"
        assert said == expected + "docs/data.md lists the forms"
        assert len(said) < 260


def test_many_long_and_odd_names_are_answered_shortly(tmp_path):
    record = {**{f"{'column ' * 20}{i}": i for i in range(900)}, "\ud800\n": 1, "x" * 10**5: 2}
    path = tmp_path / "own.json"
    path.write_text(json.dumps([record]))
    said = refusal(str(path))
    assert "and 896 more; missing subject, prompt, target_new" in said
    assert len(said) < 300
    path.write_text(json.dumps([{**PLAIN, "\ud800\n": 1}]))
    _, report = readers.read_facts_of(str(path))
    assert report.ignored == {"\\ud800": 1}
    json.dumps(report.as_dict(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("paraphrase", "paraphrases"), ("Paraphrases", "paraphrases"), ("reference", "references"),
        ("localities", "locality"), ("ID", "id"), ("target true", "target_true"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [None, "plain"])
def test_a_misspelt_field_is_refused(tmp_path, name, meant, form):
    path = written(tmp_path / "own.json", [PLAIN, {**PLAIN, name: "x"}])
    said = refusal(path, form)
    assert said.startswith(f", record 1: unknown field {name!r}; did you mean {meant!r}? ")
    assert said.endswith(f"set datasets.*.columns: {{{meant}: {name}}}")


def test_other_unknown_fields_are_counted_and_said(tmp_path):
    more = {"idx": 3, "location": "here", "subject_id": "Q142", "language": "en", "case_id": 7}
    path = written(tmp_path / "own.json", [{**PLAIN, **more}, {**PLAIN, "language": "en"}])
    facts, report = readers.read_facts_of(path)
    assert [fact.id for fact in facts] == ["7", "1"]
    expected = {"language": 2, "idx": 1, "location": 1, "subject_id": 1}
    assert report.ignored == expected
    assert report.as_dict()["ignored_fields"] == expected
    assert "ignored fields (of so many records): language (2), idx (1), " in str(report)
    assert "ignored" not in str(readers.read_facts_of(written(tmp_path / "f.json", [PLAIN]))[1])


def test_a_row_without_an_object_is_refused_and_the_others_are_read(tmp_path):
    rows = [{**PLAIN, "target_new": ""}, PLAIN, {**PLAIN, "subject": ""}]
    facts, report = readers.read_facts_of(written(tmp_path / "own.csv", rows))
    assert len(facts) == 1
    assert report.refused == {
        "missing or empty field 'target_new'": 1,
        "missing or empty field 'subject'": 1,
    }


LISTED = "expected a list of {prompt, target}, in a cell of a table as JSON"
REFUSED = {
    "missing or empty field 'target_new'": {"target_new": ""},
    "subject not in the prompt": {"prompt": "It is"},
    f"locality: found text, {LISTED}": {"locality": "Spain is"},
    f"locality: found prompt in it, {LISTED}": {"locality": '[{"prompt": "Spain is"}]'},
    "paraphrases: found a number, expected text": {"paraphrases": "[3]"},
}


@pytest.mark.parametrize(("end", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_refused_row_is_named_by_its_line_and_the_field(tmp_path, end, separator):
    # The header is one line, the first record two.
    rows = [{**PLAIN, "prompt": "The capital\nof {} is"}]
    rows += [{**PLAIN, **changed} for changed in REFUSED.values()]
    path = written(tmp_path / f"own.{end}", rows, sep=separator)
    _, report = readers.read_facts_of(path)
    assert report.examples == {why: [f"line {i}"] for i, why in enumerate(REFUSED, 4)}
    misspelt = written(tmp_path / f"m.{end}", [PLAIN, {**PLAIN, "paraphrase": "x"}], sep=separator)
    assert refusal(misspelt).startswith(", line 3: unknown field 'paraphrase'")


def test_a_refused_line_of_json_is_named(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [PLAIN, {**PLAIN, "prompt": "It is"}, {**PLAIN, "target_new": 3}]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    _, report = readers.read_facts_of(str(path))
    assert report.examples == {
        "subject not in the prompt": ["line 3"],
        "target_new: found a number, expected text": ["line 5"],
    }


@pytest.mark.parametrize("subject", ["{}", "std::set<int>{}", "f{}{x}"])
def test_a_subject_may_have_braces(tmp_path, subject):
    for prompt in (f"The type of {subject} is", "The type of {} is"):
        path = tmp_path / "own.json"
        path.write_text(json.dumps([{**PLAIN, "subject": subject, "prompt": prompt}]))
        ((fact,), _) = readers.read_facts_of(str(path))
        assert fact.prompt == "The type of {} is"
        assert fact.text == f"The type of {subject} is"


def test_one_paraphrase_in_a_cell_is_one_paraphrase(tmp_path):
    row = {**PLAIN, "paraphrases": "{}'s capital is"}
    (fact,), _ = readers.read_facts_of(written(tmp_path / "own.csv", [row], sep=";"))
    assert fact.paraphrases == ("France's capital is",)


def test_short_names_must_agree_and_case_does_not_matter():
    assert fields.closest("idx", ["id", "uid"]) == ""
    assert fields.closest("Case ID", ["id", "case_id"]) == "case_id"
    assert fields.closest("x", []) == ""


def test_blanks_around_a_prompt_are_taken_off(tmp_path):
    """A blank at its end would be a token of its own, behind which no answer follows."""
    probe = {"prompt": " Is it? ", "target": "yes"}
    row = {
        "subject": "A",
        "prompt": "The colour of {} is ",
        "target_new": "red",
        "locality": [probe],
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([row]))
    ((fact,), _) = readers.read_facts_of(str(path))
    assert (fact.prompt, fact.locality[0].prompt) == ("The colour of {} is", "Is it?")
