"""ConceptEdit: the file of concepts is two experiments, and its records are edits or refused."""

import json

import pytest

from mose.errors import RequestError
from mose.facts import readers
from mose.facts.drawing import draw_requests
from mose.facts.requests import Probe

NAMES = ("bird", "river", "novel", "bridge", "opera", "comet")


def write(path, records):
    path.write_text(json.dumps(records))
    return str(path)


def concept(name, **changed):
    return {
        "concept_name": name,
        "concept_def": f"what a {name} is",
        "instances": [f"{name} {i}" for i in range(5)],
        "module_intra": {"replace_def": "a thing of a near kind"},
        "module_inter": {"replace_def": "a thing of a far kind"},
        **changed,
    }


def test_the_file_of_concepts_is_two_experiments(tmp_path):
    path = write(tmp_path / "concept_data.json", [concept(name) for name in NAMES])
    with pytest.raises(RequestError, match=r"ConceptEdit is .*form: conceptedit-intra .* or conc"):
        readers.read_facts_of(path)
    for module, kind in (("intra", "near"), ("inter", "far")):
        facts, report = readers.read_facts_of(path, f"conceptedit-{module}")
        assert report.kept == len(NAMES)
        assert [fact.subject for fact in facts] == list(NAMES)
        for fact in facts:
            assert fact.target_new == f"a thing of a {kind} kind"
            assert fact.target_true == f"what a {fact.subject} is"
            assert fact.text == f"The definition of {fact.subject} is"
            assert all(fact.subject in paraphrase for paraphrase in fact.paraphrases)
        assert facts[1].instances[2] == "Whether river 2 belongs to category river?"
        assert report.prompts["instances"] == 5 * len(NAMES)


def test_a_file_with_one_kind_of_definition_needs_no_name(tmp_path):
    records = [concept(name) for name in NAMES]
    for record in records:
        del record["module_inter"]
    facts, _ = readers.read_facts_of(write(tmp_path / "intra.json", records))
    assert facts[0].target_new == "a thing of a near kind"


def test_other_concepts_definitions_are_the_locality_prompts(tmp_path):
    path = write(tmp_path / "concept_data.json", [concept(name) for name in NAMES])
    facts, _ = readers.read_facts_of(path, "conceptedit-inter")
    drawn = draw_requests(facts, 0, False, 2, 0.4)
    edited = {request.subject for request in drawn}
    assert len(edited) == 4
    for request in drawn:
        assert len(request.locality) == 2
        assert len(request.instances) == 2
        for probe in request.locality:
            name = probe.target.removeprefix("what a ").removesuffix(" is")
            assert name not in edited
            assert probe.prompt == f"The definition of {name} is"


def test_a_concept_s_own_locality_prompt_comes_before_other_definitions(tmp_path):
    own = {"locality_prompt": "The capital of Peru is", "locality_answer": "Lima"}
    path = write(tmp_path / "concept_data.json", [concept(name, **own) for name in NAMES])
    facts, report = readers.read_facts_of(path, "conceptedit-intra")
    assert report.prompts["locality"] == len(NAMES)
    drawn = draw_requests(facts, 0, False, 2, 0.4)
    assert {probe for request in drawn for probe in request.locality} == {
        Probe("The capital of Peru is", "Lima")
    }


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"module_intra": {}}, "module_intra: no replace_def, the definition to put in place"),
        ({"module_intra": None}, "module_intra: no replace_def, the definition to put in place"),
        ({"module_intra": "text"}, "module_intra: no replace_def, the definition to put in place"),
        ({"module_intra": {"replace_def": " "}}, "empty module_intra.replace_def"),
        (
            {"module_intra": {"replace_def": "what a bird is "}},
            "module_intra: the new definition is the old one",
        ),
        ({"concept_def": ["a", "b"]}, "concept_def: found a list, expected text"),
        ({"instances": [{"name": "x"}]}, "instances: found an object, expected text"),
        ({"concept_name": " "}, "empty concept_name"),
    ],
)
def test_a_concept_that_does_not_fit_is_refused_with_the_reason(tmp_path, changed, reason):
    path = write(tmp_path / "c.json", [concept("river"), concept("bird", **changed)])
    facts, report = readers.read_facts_of(path, "conceptedit-intra")
    assert [fact.subject for fact in facts] == ["river"]
    assert dict(report.refused) == {reason: 1}


@pytest.mark.parametrize("given", ["Whether euro belongs to category currency?", ["a?", "", "b?"]])
def test_a_record_for_one_model_brings_its_questions(tmp_path, given):
    record = {
        "label": "currency",
        "prompt": "Definition: currency is",
        "phrase_prompt": "What is a currency? It is",
        "target_new_desc": "a large bird that cannot fly",
        "instance_prompt": given,
    }
    (fact,), report = readers.read_facts_of(write(tmp_path / "final_gpt2_intra.json", [record]))
    wanted = [given] if isinstance(given, str) else ["a?", "b?"]
    assert list(fact.instances) == wanted
    assert report.prompts["instances"] == len(wanted)
    assert report.left_out == (0 if isinstance(given, str) else 1)
    assert json.loads(json.dumps(report.as_dict()))["prompts"]["instances"] == len(wanted)
