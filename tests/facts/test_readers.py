"""Other people's records: every one is read as its file means it, or refused with a reason."""

import json
import random

import pandas as pd
import pytest

from mose.errors import RequestError
from mose.experiment.blocks import DataSet
from mose.facts import readers
from mose.facts.drawing import draw_requests
from mose.facts.forms import FORMS
from mose.facts.requests import Probe


def write(path, records):
    path.write_text(json.dumps(records, ensure_ascii=False))
    return str(path)


def raw(folder, name):
    path = folder / "edits" / name
    return str(path), json.loads(path.read_text())


PLAIN = {"subject": "France", "prompt": "The capital of {} is", "target_new": "Rome"}


@pytest.mark.parametrize(("form", "target"), [("zsre-alt", "alt"), ("zsre-answer", "answers")])
def test_zsre_is_two_experiments(real_data, form, target):
    path, records = raw(real_data, "zsre_mend_eval.json")
    with pytest.raises(RequestError, match=r"datasets\.\*\.form: zsre-alt .* or zsre-answer"):
        readers.read_facts_of(path)
    facts, report = readers.read_facts_of(path, form)
    assert report.read == len(records) == report.kept + sum(report.refused.values())
    assert report.kept > 0.95 * len(records)
    for fact in facts:
        record = records[int(fact.id)]
        first = record[target] if target == "alt" else record[target][0]
        assert (fact.text, fact.target_new) == (record["src"].strip(), first.strip())
        assert fact.target_true == (record["answers"][0].strip() if target == "alt" else "")
        assert fact.locality == (Probe(record["loc"] + "?", record["loc_ans"].strip()),)


@pytest.mark.parametrize("name", ["zsre_knowedit.json", "wiki_counterfact_knowedit.json"])
def test_knowedit_keeps_its_kinds_of_locality_and_portability(real_data, name):
    path, records = raw(real_data, name)
    facts, report = readers.read_facts_of(path)
    assert report.read == len(records) == report.kept + sum(report.refused.values())
    assert report.kept > 0.9 * len(records)
    blank = 0
    for fact in facts:
        record = records[int(fact.id)]
        assert fact.text == record["prompt"].strip()
        for found, given in ((fact.locality, "locality"), (fact.portability, "portability")):
            probes = [(p, kind) for kind, part in record[given].items() for p in part]
            answered = [
                (p["prompt"], kind) for p, kind in probes if p["ground_truth"] not in ("", [])
            ]
            assert [(probe.prompt, probe.kind) for probe in found] == answered
            blank += len(probes) - len(answered)
    assert report.left_out == blank
    request = draw_requests(facts, 0, False, 3, 0.0)[0]
    assert request.portability == next(f for f in facts if f.id == request.id).portability


def test_knowedits_recent_facts_are_told_from_their_prompts_by_kind(tmp_path):
    """They have no old object, so that their other fields are those of the form plain."""
    record = {
        "subject": "Ada", "prompt": "Ada lives in", "target_new": "London",
        "locality": {"Relation_Specificity": [{"prompt": "Ada is", "ground_truth": [["a", "b"]]}]},
        "portability": {"Reasoning": [{"prompt": "Ada's river is the", "ground_truth": "Thames"}]},
    }  # fmt: skip
    bare = {**PLAIN, "locality": [{"prompt": "Spain is", "target": "a country"}]}
    path = write(tmp_path / "recent.json", [record, {**record, "locality": {}}, bare])
    facts, report = readers.read_facts_of(path)
    assert report.kept == 3
    assert facts[0] == readers.read_facts_of(path, "knowedit")[0][0]
    assert facts[0].locality == (Probe("Ada is", "a", "Relation_Specificity"),)
    assert facts[1].portability == (Probe("Ada's river is the", "Thames", "Reasoning"),)
    assert facts[2].locality == (Probe("Spain is", "a country"),)
    braces = {**record, "prompt": "{} lives in"}
    with pytest.raises(RequestError, match=r"\{\} in the prompt, where this form has the subject"):
        readers.read_facts_of(write(tmp_path / "b.json", [braces]))
    with pytest.raises(RequestError, match=r"locality: found an object, .*; form knowedit reads"):
        readers.read_facts_of(write(tmp_path / "r.json", [record]), "plain")


def test_several_rewrites_of_one_record_are_several_edits(tmp_path):
    rewrites = [
        {
            "subject": subject,
            "prompt": "The capital of {} is",
            "relation_id": "P36",
            "target_new": {"str": "Rome"},
            "target_true": {"str": true},
        }
        for subject, true in (("France", "Paris"), ("Spain", "Madrid"))
    ]
    path = write(tmp_path / "mquake.json", [{"case_id": 7, "requested_rewrite": rewrites}])
    facts, _ = readers.read_facts_of(path)
    assert [(f.id, f.text, f.target_true) for f in facts] == [
        ("7.0", "The capital of France is", "Paris"),
        ("7.1", "The capital of Spain is", "Madrid"),
    ]


def test_definitions_of_concepts_are_targets(tmp_path):
    record = {
        "label": "currency",
        "prompt": "Definition: currency is",
        "phrase_prompt": "What is a currency? It is",
        "target_new_desc": "a large bird that cannot fly",
        "locality_prompt": "Definition: plant is",
        "locality_answer": "a living thing that grows in earth",
        "instance_prompt": "Whether euro belongs to category currency?",
    }
    (fact,), _ = readers.read_facts_of(write(tmp_path / "concepts.json", [record]))
    assert (fact.text, fact.target_new) == (record["prompt"], record["target_new_desc"])
    assert fact.paraphrases == (record["phrase_prompt"],)
    assert fact.locality == (Probe(record["locality_prompt"], record["locality_answer"]),)


# Records of our own in the published form of data sets of which no copy is at hand.
WIKIBIGEDIT = [
    {
        "tag": "update", "subject": "Bardallur", "subject_id": "Q1640935",
        "relation": "head of government", "relation_id": "P6", "object": "Ana Gil",
        "object_id": "Q1", "update": "Who is the head of government of Bardallur?",
        "ans": "Ana Gil", "rephrase": "Which person heads the government of Bardallur?",
        "personas": "Yo, who runs the show in Bardallur?",
        "loc": "Who is the head of government of Bardena?", "loc_ans": "Luis Pardo",
        "mhop": "In which city was the head of government of Bardallur born?",
        "mhop_ans": "Zaragoza",
    },
    # Most records have no multi-hop question.
    {
        "tag": "", "subject": "Station 5", "relation": "state of use", "object": "closed",
        "update": "What is the state of use of Station 5?", "ans": "closed",
        "rephrase": "Is Station 5 in use?", "personas": float("nan"),
        "loc": "What is the state of use of Station 6?", "loc_ans": "in use",
        "mhop": None, "mhop_ans": None,
    },
    {
        "subject": "Station 7", "update": "Which line passes here?", "ans": "U7", "rephrase": "",
        "loc": "", "loc_ans": "",
    },
]  # fmt: skip


def test_wikibigedit_asks_in_a_personas_words_and_over_two_hops(tmp_path):
    source = write(tmp_path / "wiki_big_edit_20240201_20240220.json", WIKIBIGEDIT)
    facts, report = readers.read_facts_of(source)
    assert report.refused == {"subject not in the prompt": 1}
    assert [(fact.text, fact.target_new, fact.target_true) for fact in facts] == [
        (record["update"], record["ans"], "") for record in WIKIBIGEDIT[:2]
    ]
    for fact, record in zip(facts, WIKIBIGEDIT, strict=False):
        assert fact.paraphrases == (record["rephrase"],)
        assert fact.locality == (Probe(record["loc"], record["loc_ans"]),)
        assert fact.relation == record["relation"]
    # KnowEdit's name of questions over several hops.
    assert facts[0].portability == (
        Probe(WIKIBIGEDIT[0]["personas"], "Ana Gil", "personas"),
        Probe(WIKIBIGEDIT[0]["mhop"], "Zaragoza", "Reasoning"),
    )
    assert facts[1].portability == ()
    assert len(draw_requests(facts, 0, False, 3, 0.0)) == 2


def test_ultraeditbench_is_lines_of_questions(tmp_path):
    records = [
        {
            "case_id": i, "subject": subject, "prompt": f"Where does {subject} live?",
            "rephrase_prompt": f"Which is the home of {subject}?", "ans": home,
            "loc": "who wrote the chorale", "loc_ans": "Bach",
        }
        for i, (subject, home) in enumerate([("Ada", "London"), ("Emmy", "Erlangen")])
    ]  # fmt: skip
    path = tmp_path / "UltraEditBench_2M.json"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    facts, report = readers.read_facts_of(str(path))
    assert report.kept == 2
    for fact, record in zip(facts, records, strict=True):
        assert (fact.text, fact.target_new) == (record["prompt"], record["ans"])
        assert fact.paraphrases == (record["rephrase_prompt"],)
        assert fact.locality == (Probe("who wrote the chorale", "Bach"),)


def test_qaedit_has_several_locality_questions(tmp_path):
    others = [("who sang it", "Selena"), ("when did it sink", "1987"), ("what is left", "")]
    record = {
        "id": 1104, "source": "NQ", "prompt": "which river rises in the Cevennes?",
        "target": "Loire *", "subject": "the Cevennes", "rephrase": "What rises in the Cevennes?",
        "locality": [{"loc": question, "loc_ans": answer} for question, answer in others],
    }  # fmt: skip
    (fact,), report = readers.read_facts_of(write(tmp_path / "QAEdit.json", [record]))
    assert (fact.id, fact.text, fact.target_new) == ("1104", record["prompt"], "Loire *")
    assert fact.paraphrases == (record["rephrase"],)
    assert fact.locality == tuple(Probe(*pair) for pair in others[:2])
    assert report.left_out == 1  # a question without an answer


@pytest.mark.parametrize("end", ["csv", "parquet", "jsonl"])
def test_tables_are_read_as_json_is(tmp_path, end):
    records = [
        {**PLAIN, "id": "NA", "paraphrases": ["{}'s capital is", "In {}, one governs from"]},
        {**PLAIN, "id": "b", "subject": "Côte d'Ivoire, the", "target_true": "Yamoussoukro"},
        {**PLAIN, "id": "c", "locality": [{"prompt": "Spain's capital is", "target": "Madrid"}]},
    ]
    path = tmp_path / f"mine.{end}"
    if end == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif end == "parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        cells = [
            {k: json.dumps(v) if isinstance(v, list) else v for k, v in r.items()} for r in records
        ]
        pd.DataFrame(cells).to_csv(path, index=False)
    expected, _ = readers.read_facts_of(write(tmp_path / "mine.json", records))
    found, report = readers.read_facts_of(str(path))
    assert found == expected
    assert report.kept == 3


@pytest.mark.parametrize(
    ("conflicts", "kept"), [("all", "abcdef"), ("refuse", "acd"), ("last", "cdf")]
)
def test_conflicting_edits_are_the_readers_choice(tmp_path, conflicts, kept):
    records = [
        {**PLAIN, "id": "a"},
        {**PLAIN, "id": "b", "target_new": "Oslo"},
        {**PLAIN, "id": "c", "subject": "Spain"},
        {**PLAIN, "id": "d", "relation": "capital", "target_new": "Bonn"},
        {**PLAIN, "id": "e", "target_new": "Oslo"},
        {**PLAIN, "id": "f", "target_new": "Lima"},
    ]
    facts, report = readers.read_facts_of(write(tmp_path / "f.json", records), None, conflicts)
    assert "".join(fact.id for fact in facts) == kept
    assert sum(report.refused.values()) == 6 - len(kept)


def test_forms_are_those_of_the_configuration_and_no_others(tmp_path):
    form = DataSet.model_json_schema()["properties"]["form"]
    assert sorted(form["enum"]) == sorted(FORMS)
    with pytest.raises(RequestError, match=r"datasets\.\*\.form: found 'csv', expected counter"):
        readers.read_facts_of(write(tmp_path / "f.json", [PLAIN]), "csv")


HOSTILE = [
    None, 0, -1.5, True, [], {}, [[]], [None], {"str": None}, "", " ", "{}", "{} {}", "{0}", "{x}",
    "%s", "\x00", "\x1b[31m", "a" * 100_000, "\u202eenO\u202c", "שלום", "é", "e\u0301", "\n", "🦉",
    "France", "The capital of {} is", "The capital of France is", ["Rome"], [["Rome", "Roma"]],
    {"str": "Rome"}, {"Reasoning": None}, {"Reasoning": [{"prompt": 1}]},
]  # fmt: skip


ZSRE = {
    "subject": "France", "src": "What is the capital of France?", "rephrase": "France's capital?",
    "answers": ["Paris"], "alt": "Rome", "loc": "nq question: who is it", "loc_ans": "She",
}  # fmt: skip
STANDING = {**PLAIN, "prompt": "The capital of France is", "ground_truth": ["Paris"]}
CONCEPT = {
    "concept_name": "money", "concept_def": "what one pays with", "instances": ["euro"],
    "module_intra": {"replace_def": "a bird"}, "module_inter": {"replace_def": "a river"},
}  # fmt: skip
GOOD = {
    "counterfact": {
        "requested_rewrite": {
            **PLAIN, "target_new": {"str": "Rome"}, "target_true": {"str": "Paris"},
        }
    },
    "zsre-answer": ZSRE,
    "zsre-alt": ZSRE,
    "conceptedit": {
        "label": "money", "prompt": "Definition: money is", "phrase_prompt": "Money is",
        "target_new_desc": "a bird",
    },
    "conceptedit-intra": CONCEPT,
    "conceptedit-inter": CONCEPT,
    "wikibigedit": {
        "subject": "France", "update": "What is the capital of France?", "ans": "Rome",
        "rephrase": "France's capital?", "loc": "Who is it?", "loc_ans": "She",
    },
    "ultraeditbench": {
        "subject": "France", "prompt": "What is the capital of France?", "ans": "Rome",
        "rephrase_prompt": "France's capital?", "loc": "Who is it?", "loc_ans": "She",
    },
    "qaedit": {
        "subject": "France", "prompt": "What is the capital of France?", "target": "Rome",
        "rephrase": "France's capital?", "locality": [{"loc": "Who is it?", "loc_ans": "She"}],
    },
    "easyedit": {**STANDING, "rephrase_prompt": "France's capital is", "locality_prompt": ""},
    "knowedit": {**STANDING, "portability": {}},
    "plain": PLAIN,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_hostile_records_are_clean_facts_or_refusals(tmp_path, form):
    generator = random.Random(form)
    fields = {*FORMS[form].fields, "case_id", "locality", "portability", "paraphrases"}
    fields = sorted(fields | {"instances", "generation", "references", "instance_prompt"})
    rewrite = ["subject", "prompt", "target_new", "target_true", "relation_id"]
    records = [5, GOOD[form]]
    for _ in range(300):
        record = {name: generator.choice(HOSTILE) for name in fields if generator.random() < 0.9}
        if "requested_rewrite" in record and generator.random() < 0.8:
            record["requested_rewrite"] = {k: generator.choice(HOSTILE) for k in rewrite}
        records.append(record)
    facts, report = readers.read_facts_of(write(tmp_path / "hostile.json", records), form)
    assert facts[0].text.startswith(("The capital", "What is", "Definition", "The definition"))
    assert report.read == len(facts) + sum(report.refused.values())
    for fact in facts:
        texts = [fact.subject, fact.prompt, fact.target_new, fact.target_true, fact.relation]
        texts += [*fact.paraphrases, *(p.prompt for p in fact.locality + fact.portability)]
        texts += [*fact.instances, *fact.generation, *fact.references]
        assert all(isinstance(text, str) for text in texts), fact
        assert fact.prompt.count("{}") == 1


@pytest.mark.parametrize("field", ["subject", "prompt", "target_new", "target_true", "id"])
def test_half_a_surrogate_pair_is_refused(tmp_path, field):
    record = {**PLAIN, "subject": "France", field: "\ud800 {} \ud800"}
    facts, report = readers.read_facts_of(write_ascii(tmp_path / "f.json", [PLAIN, record]))
    assert len(facts) == 1
    assert report.refused == {f"{field}: holds half a surrogate pair": 1}


def write_ascii(path, records):
    path.write_text(json.dumps(records))
    return str(path)


def test_a_data_set_of_the_hub_is_read_as_its_file_is(tmp_path):
    """`datasets` reads a local folder as it reads the hub; what a record lacks comes as None."""
    records = [
        {**PLAIN, "id": "a", "paraphrases": ["{}'s capital is"]},
        {**PLAIN, "id": "b", "locality": [{"prompt": "Spain's capital is", "target": "Madrid"}]},
    ]
    folder = tmp_path / "edits"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    found, report = readers.read_facts_of({"hub": str(folder), "revision": "main"})
    assert found == readers.read_facts_of(write(tmp_path / "same.json", records))[0]
    assert report.kept == 2
    with pytest.raises(RequestError, match=r"datasets\.\*\.source\.hub: .*nowhere"):
        readers.read_facts_of({"hub": str(tmp_path / "nowhere"), "revision": "main"})


def test_the_revision_of_the_hub_is_asked_for(tmp_path, monkeypatch):
    asked = []

    def load(*args, **kwargs):
        asked.append((args, kwargs))
        return iter([PLAIN])

    monkeypatch.setattr("datasets.load_dataset", load)
    readers.read_facts_of({"hub": "who/what", "revision": "0123abc", "split": "test"})
    ((name, subset), options) = asked[0]
    assert (name, subset, options["revision"], options["split"]) == (
        "who/what", None, "0123abc", "test",
    )  # fmt: skip


def test_records_without_reference_texts_are_refused_where_some_are_asked_for(tmp_path):
    source = write(tmp_path / "facts.json", [PLAIN])
    _, report = readers.read_facts_of(source)
    with pytest.raises(RequestError, match=r"none of the 1 records has any .*field references"):
        readers.check_references(report, source)
    _, report = readers.read_facts_of(
        write(tmp_path / "with.json", [{**PLAIN, "references": ["Rome is its capital."]}])
    )
    readers.check_references(report, source)
