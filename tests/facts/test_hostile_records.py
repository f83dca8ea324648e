"""Any record at all becomes a clean request or a refusal: drawn by hypothesis."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mose.errors import RequestError
from mose.facts import readers
from mose.facts.drawing import draw_requests
from mose.facts.forms import FORMS
from mose.facts.requests import EditRequest

FIELDS = sorted(
    set().union(*(form.fields for form in FORMS.values()))
    | {"id", "case_id", "relation", "relation_id", "paraphrases", "locality", "portability"}
    | {"target_true", "paraphrase_prompts", "neighborhood_prompts", "ground_truth", "str", "kind"}
    | {"instances", "instance_prompt", "generation", "generation_prompts", "references"}
    | {"personas", "mhop", "mhop_ans"}
    | {"locality_ground_truth", "locality_answer", "also", "known", "attribute_prompts"}
)
SUBJECT = "France"
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="{}%\\\x00\x1b\u202e\u200f\ud7ff\ufeffאב ", max_size=12),
    st.just("a" * 100_000),
    st.sampled_from(["\ud800", "France \udfff", "The capital of France\ud83d is"]),
    st.sampled_from(
        ["", " ", "{}", "{{}}", "{} and {}", "{0}", "{subject}", "\n\t", "NaN", SUBJECT]
    ),
    st.sampled_from([f"The capital of {SUBJECT} is", "The capital of {} is", f"{SUBJECT} {{}}"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(FIELDS) | TEXTS, inner, max_size=4),
    ),
    max_leaves=8,
)


def records(form):
    """Objects that have most fields of a form, some of them as they should be."""
    good = {
        "subject": SUBJECT, "label": SUBJECT, "prompt": f"The capital of {SUBJECT} is",
        "src": f"What is the capital of {SUBJECT}?", "target_new": "Rome", "alt": "Rome",
        "answers": ["Paris"], "target_new_desc": "a bird", "rephrase": "What?", "loc": "who",
        "loc_ans": "she", "phrase_prompt": "It is", "rephrase_prompt": "It is",
        "locality_prompt": "Spain is", "portability": {}, "ground_truth": "Paris",
        "update": f"What is the capital of {SUBJECT}?", "ans": "Rome", "target": "Rome",
        "concept_name": SUBJECT, "concept_def": "a country", "instances": ["Paris"],
        "module_intra": {"replace_def": "a bird"}, "module_inter": {"replace_def": "a river"},
        "requested_rewrite": {
            "subject": SUBJECT, "prompt": "The capital of {} is", "relation_id": "P36",
            "target_new": {"str": "Rome"}, "target_true": {"str": "Paris"},
        },
    }  # fmt: skip
    spoilt = st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
    fields = {name: st.just(good[name]) | spoilt for name in FORMS[form].fields if name in good}
    more = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
    return st.one_of(
        st.builds(lambda own, extra: {**extra, **own}, st.fixed_dictionaries(fields), more),
        st.builds(lambda own, extra: {**own, **extra}, st.fixed_dictionaries(fields), more),
        VALUES,
    )


def texts_of(request):
    yield from (request.id, request.subject, request.prompt, request.target_new)
    yield from (request.target_true, request.relation, *request.paraphrases)
    yield from (*request.instances, *request.generation, *request.references)
    for probe in (*request.locality, *request.portability):
        yield from (probe.prompt, probe.target, probe.kind)


@pytest.mark.parametrize("form", FORMS)
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                           HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(data=st.data())
def test_only_clean_requests_or_refusals(tmp_path, form, data):
    drawn = data.draw(st.lists(records(form), min_size=1, max_size=4))
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps(drawn), encoding="utf-8")
    try:
        facts, report = readers.read_facts_of(str(path), form)
    except RequestError:
        return  # none of them can be used
    assert report.read == report.kept + sum(report.refused.values())
    assert all(report.refused)
    requests = draw_requests(facts, 0, False, 3, 0.0)
    assert len(requests) == len(facts) == report.kept
    for request in requests:
        assert isinstance(request, EditRequest)
        assert all(isinstance(text, str) for text in texts_of(request)), request
        assert request.prompt.count("{}") == 1
        assert request.subject.strip()
        assert request.target_new.strip()
        # What is written to a file can be read again, by any reader of UTF-8.
        for text in texts_of(request):
            text.encode("utf-8")
