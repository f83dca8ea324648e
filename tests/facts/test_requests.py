import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mose.errors import ConfigError, RequestError
from mose.facts import drawing, readers, requests
from mose.facts.drawing import part_of
from mose.facts.requests import EditRequest, Fact, Probe
from mose.storage import files

ROOT = Path(__file__).parents[2]


def facts(count=40, known=lambda i: True):
    return [
        Fact(
            id=f"{relation}/{i}",
            subject=f"S{i}",
            prompt=f"The {relation} of {{}} is",
            target_true=f"{relation}{i % 7}",
            relation=relation,
            also=(f"{relation}{(i + 1) % 7}",),
            known=known(i),
        )
        for relation in ("capital", "river")
        for i in range(count)
    ]


def draw(given, seed=0, known_only=False, neighbours=3, held_out=0.25):
    return drawing.draw_requests(given, seed, known_only, neighbours, held_out)


def test_a_sample_of_requests_goes_on_with_a_longer_sequence():
    drawn = draw(facts())
    assert drawing.sample(drawn[:3], 5) == [0, 1, 2]
    short, long = drawing.sample(drawn[:20], 6), drawing.sample(drawn[:40], 6)
    assert len(short) == len(long) == 6
    assert short == sorted(short)
    assert set(long) <= set(short) | set(range(20, 40)), "what stays was chosen before"
    assert drawing.sample(drawn[:20], 6) == short
    assert drawing.sample(drawn, 0) == []


def test_the_order_is_the_seeds_and_complete():
    drawn = draw(facts())
    assert drawn == draw(facts())
    assert drawn != draw(facts(), seed=1)
    assert len({r.id for r in drawn}) == len(drawn) == 60  # a quarter of 40 subjects kept aside


def test_targets_are_false_and_of_the_relation():
    given = {fact.id: fact for fact in facts()}
    chosen = set()
    for request in draw(facts()):
        fact = given[request.id]
        assert request.target_new.startswith(fact.relation)
        assert request.target_new not in (fact.target_true, *fact.also)
        chosen.add(request.target_new)
    assert len(chosen) == 14


def test_neighbours_are_of_the_relation_never_edited_and_differ_from_the_target():
    drawn = draw(facts())
    edited = {request.subject for request in drawn}
    for request in drawn:
        assert len(request.locality) == 3
        for probe in request.locality:
            assert probe.prompt.startswith(f"The {request.relation} of")
            assert not any(f"of {subject} is" in probe.prompt for subject in edited)
            assert probe.target != request.target_new


def test_known_only_takes_known_facts_for_edits_and_neighbours():
    given = facts(known=lambda i: i % 2 == 0)
    drawn = draw(given, known_only=True)
    for request in drawn:
        assert int(request.subject[1:]) % 2 == 0
        for probe in request.locality:
            assert int(probe.prompt.split("S")[1].split()[0]) % 2 == 0
    with pytest.raises(RequestError, match="never asked of the model"):
        draw(facts(known=lambda i: None), known_only=True)
    with pytest.raises(RequestError, match=r"no request is left of 80 facts \(0 usable\)"):
        draw(facts(known=lambda i: False), known_only=True)


def test_ready_made_targets_and_neighbours_are_kept():
    ready = Fact(
        id="1",
        subject="Danielle",
        prompt="The mother tongue of {} is",
        target_true="French",
        target_new="English",
        locality=tuple(Probe(f"Michel {i} is a native speaker of", "French") for i in range(10)),
    )
    (request,) = draw([ready], neighbours=4)
    assert request.target_new == "English"
    assert request.locality == ready.locality[:4]


def test_what_the_cap_on_neighbours_takes_away_is_counted_by_request():
    probes = tuple(Probe(f"Michel {i} speaks", "French") for i in range(5))
    given = [
        Fact("1", "Danielle", "{} speaks", "French", target_new="Dutch", locality=probes),
        Fact("2", "Anna", "{} speaks", "Dutch", target_new="French", locality=probes[:2]),
        Fact("3", "Eva", "{} speaks", "Dutch", target_new="French", instances=("a", "b", "c")),
        Fact("4", "Olga", "{} speaks", "Dutch", target_new="French"),
    ]
    drawn = draw(given, neighbours=2, held_out=0.0)
    assert len(drawn) == 4
    assert drawing.left_out(given, drawn) == {"1": {"locality": 3}, "3": {"instances": 1}}
    assert drawing.left_out(given, draw(given, neighbours=5, held_out=0.0)) == {}


def test_what_is_only_measured_does_not_change_what_was_edited():
    """The digest of requests is that of the fields they had before there were such prompts."""
    request = EditRequest(
        "1", "France", "In {}", "Rome", "Paris", "capital", ("France?",),
        (Probe("Spain", "Madrid"),), (Probe("There", "Rome", "Reasoning"),),
    )  # fmt: skip
    probes = [{"prompt": "Spain", "target": "Madrid", "kind": ""}]
    more = [{"prompt": "There", "target": "Rome", "kind": "Reasoning"}]
    fields = {
        "id": "1", "subject": "France", "prompt": "In {}", "target_new": "Rome",
        "target_true": "Paris", "relation": "capital", "paraphrases": ["France?"],
        "locality": probes, "portability": more,
    }  # fmt: skip
    digest = files.digest_of([fields])
    assert requests.digest_of_requests([request]) == digest
    measured = replace(request, instances=("Is it?",), generation=("I",), references=("Text",))
    assert requests.digest_of_requests([measured]) == digest
    assert requests.digest_of_requests([replace(request, paraphrases=())]) != digest


def test_what_is_written_is_read(tmp_path):
    more = {"instances": ("Is it?",), "generation": ("I", "You"), "references": ("Text",)}
    measured = [replace(facts()[0], **more), facts()[1]]
    requests.write_records(tmp_path / "m.jsonl", measured)
    assert requests.read_facts(tmp_path / "m.jsonl") == measured
    assert (tmp_path / "m.jsonl").read_text().count("references") == 1
    drawn = draw(facts())
    requests.write_records(tmp_path / "r.jsonl", drawn)
    assert requests.read_requests(tmp_path / "r.jsonl") == drawn
    requests.write_records(tmp_path / "f.jsonl", facts())
    assert requests.read_facts(tmp_path / "f.jsonl") == facts()
    (tmp_path / "r.jsonl").write_text('{"id": "1", "typo": 3}\n')
    with pytest.raises(RequestError, match=r"r\.jsonl: not a record of this project"):
        requests.read_requests(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": " "}, "subject is empty"),
        ({"prompt": "The capital is"}, "needs exactly one {} for the subject"),
        ({"prompt": "{} and {}"}, "needs exactly one {} for the subject"),
        ({"target_new": ""}, "target_new is empty"),
    ],
)
def test_unusable_requests_are_refused_by_their_id(change, message):
    good = {"id": "x7", "subject": "France", "prompt": "In {}", "target_new": "Rome"}
    with pytest.raises(RequestError, match=f"request x7: .*{message}"):
        EditRequest(**{**good, **change})


def test_too_few_requests_name_the_config_key():
    with pytest.raises(ConfigError, match=r"edits\.total asks for 50 .* holds 40 requests"):
        drawing.check_enough(40, 50, "r.jsonl")


OWN = [
    Fact(str(i), f"S{i}", "The capital of {} is", f"C{i}", "capital", target_new="Rome")
    for i in range(5)
]


def test_too_few_requests_say_what_set_facts_aside():
    drawn = drawing.draw_requests(OWN, 0, False, 3, 0.2)
    aside = drawing.set_aside(OWN, drawn, False, "all")
    assert aside == {"held_out": 1}
    message = r"asks for 5 .* holds 4 requests of 5 facts; .* 1 kept aside .*lower .*\.held_out"
    with pytest.raises(ConfigError, match=message):
        drawing.check_enough(len(drawn), 5, "r.jsonl", aside)
    drawing.check_enough(len(drawn), 4, "r.jsonl", aside)


@pytest.mark.parametrize("held_out", [0.0, 0.25])
@pytest.mark.parametrize("part", ["all", "tuning"])
@pytest.mark.parametrize("known_only", [False, True])
def test_every_fact_is_a_request_or_set_aside_by_a_key(known_only, part, held_out):
    """The keys are those whose change brings the facts back, one after the other."""
    given = [
        *facts(known=lambda i: i % 3 > 0),
        Fact("x", "X", "The only {}", "one", "x", known=True),
    ]
    drawn = drawing.draw_requests(given, 0, known_only, 3, held_out, part)
    aside = drawing.set_aside(given, drawn, known_only, part)
    assert sum(aside.values()) + len(drawn) == len(given)
    unknown = [fact for fact in given if known_only and not fact.known]
    other = [f for f in given if f not in unknown and part != "all" and part_of(f.subject) != part]
    counts = {"known_only": len(unknown), "part": len(other), "target_new": part_of("X") == part}
    counts["target_new"] |= part == "all"
    counts["held_out"] = len(given) - len(drawn) - sum(counts.values())
    assert aside == {key: count for key, count in counts.items() if count}
    assert ("held_out" in aside) == (held_out > 0)


def test_no_request_at_all_names_the_keys():
    part = "tuning" if part_of("S0") == "evaluation" else "evaluation"
    with pytest.raises(RequestError, match=r"left of 1 facts .*: 1 of the other part \(datasets"):
        drawing.draw_requests(OWN[:1], 0, False, 3, 0.0, part)


def test_the_programs_count_and_say_what_was_set_aside(tmp_path):
    requests.write_records(tmp_path / "facts.jsonl", OWN)

    def run(*command):
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / command[0], *command[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    written = ["--out", "requests.jsonl", "--report", "requests.json"]
    drawn = run("make_requests.py", "--facts", "facts.jsonl", "--seed", "0", *written)
    assert drawn.returncode == 0, drawn.stderr
    assert files.read_json(tmp_path / "requests.json")["set_aside"] == {"held_out": 1}
    check = ["check_requests.py", "--requests", *written[1:], "--out", "enough", "--at-least"]
    assert run(*check, "4").returncode == 0
    refused = run(*check, "5")
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert "holds 4 requests of 5 facts; not edited: 1 kept aside for locality prompts" in last


def test_the_builtin_table_is_read_whole():
    found, report = readers.read_facts_of("builtin")
    assert report.read == report.kept == len(found) >= 600
    france = next(fact for fact in found if fact.id == "country_capital/France")
    assert france.text == "The capital of France is"
    assert france.target_true == "Paris"
    assert len(france.paraphrases) == 2
    assert all("France" in paraphrase for paraphrase in france.paraphrases)


def test_counterfact_as_memit_has_it(real_data):
    path = real_data / "edits" / "counterfact.json"
    raw = json.loads(path.read_text())
    found, report = readers.read_facts_of(str(path))
    assert report.read == report.kept == len(raw) == len(found)
    for fact, record in zip(found, raw, strict=True):
        rewrite = record["requested_rewrite"]
        assert fact.text == rewrite["prompt"].format(rewrite["subject"])
        assert fact.target_new == rewrite["target_new"]["str"]
        assert fact.target_true == rewrite["target_true"]["str"]
        assert list(fact.paraphrases) == record["paraphrase_prompts"]
        assert [p.prompt for p in fact.locality] == record["neighborhood_prompts"]


def test_counterfact_as_easyedit_has_it(real_data):
    path = real_data / "edits" / "counterfact_easyedit.json"
    raw = json.loads(path.read_text())
    found, report = readers.read_facts_of(str(path))
    assert report.read == len(raw)
    assert report.kept == len(found) == len(raw) - sum(report.refused.values())
    assert report.kept > 0.97 * len(raw)
    records = {
        (r["prompt"], r["target_new"].strip(), r["locality_ground_truth"].strip()) for r in raw
    }
    for fact in found:
        assert (fact.text, fact.target_new, fact.locality[0].target) in records
        assert fact.prompt.count("{}") == 1


def test_a_users_own_file_and_why_its_records_are_refused(tmp_path):
    good = {"subject": "France", "prompt": "The capital of {} is", "target_new": "Rome"}
    records = [
        good,
        {
            **good,
            "id": "b",
            "prompt": "The capital of France is",
            "paraphrases": ["{}'s capital is"],
        },
        {**good, "id": "b"},
        {**good, "id": "c", "target_new": " "},
        {**good, "id": "d", "prompt": "The capital of Spain is"},
        {**good, "id": "e", "prompt": "France, la France"},
        {**good, "id": "f", "prompt": "{} {}"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    found, report = readers.read_facts_of(str(path))
    assert [f.text for f in found] == ["The capital of France is"] * 2
    assert found[1].paraphrases == ("France's capital is",)
    assert dict(report.refused) == {
        "duplicate id": 1,
        "empty target_new": 1,
        "subject not in the prompt": 1,
        "subject more than once in the prompt": 1,
        "{} more than once in the prompt": 1,
    }
    assert report.examples["duplicate id"] == ["line 3 (id b)"]
    assert report.examples["{} more than once in the prompt"] == ["line 7 (id f)"]
    assert report.read == 7
    assert "2 kept" in str(report)


def test_unreadable_data_sets_are_refused_by_name(tmp_path):
    with pytest.raises(RequestError, match=r"none\.json: no such file \(datasets"):
        readers.read_facts_of(str(tmp_path / "none.json"))
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(RequestError, match=r"bad\.json, line 1: not valid JSON"):
        readers.read_facts_of(str(tmp_path / "bad.json"))
    (tmp_path / "odd.json").write_text('[{"question": "?"}]')
    with pytest.raises(RequestError, match=r"odd\.json, record 0: fields question; missing"):
        readers.read_facts_of(str(tmp_path / "odd.json"))


def test_parts_are_disjoint_whole_and_the_same_for_every_seed():
    facts = [
        Fact(f"capital/{i}", f"Country {i}", "The capital of {} is", f"City {i}", "capital")
        for i in range(200)
    ]
    subjects = {}
    for seed in (0, 1):
        for part in ("all", "tuning", "evaluation"):
            drawn = drawing.draw_requests(facts, seed, False, 0, 0.0, part)
            subjects[seed, part] = [drawn_one.subject for drawn_one in drawn]
    for part in ("tuning", "evaluation"):
        assert set(subjects[0, part]) == set(subjects[1, part])
        kept = [s for s in subjects[0, "all"] if s in set(subjects[0, part])]
        assert subjects[0, part] == kept, "a part is in the order of the whole"
    assert set(subjects[0, "tuning"]).isdisjoint(subjects[0, "evaluation"])
    assert len(subjects[0, "tuning"]) + len(subjects[0, "evaluation"]) == 200
    assert 20 < len(subjects[0, "tuning"]) < 60


def test_the_report_counts_what_the_cap_left_out():
    probes = tuple(Probe(f"P{i}", "x") for i in range(5))
    given = [
        replace(fact, target_new="Z", locality=probes if i % 2 else (), instances=("a?",) * i)
        for i, fact in enumerate(facts(4))
    ]
    drawn = draw(given, neighbours=2, held_out=0.0)
    report = drawing.drawing_report(given, drawn, 2, False, "all")
    assert (report["facts"], report["requests"], report["neighbours"]) == (8, len(drawn), 2)
    total = {"locality": 0, "instances": 0}
    for request in drawn:
        i = [fact.id for fact in given].index(request.id)
        missing = {"locality": 3 if i % 2 else 0, "instances": max(0, i - 2)}
        missing = {name: count for name, count in missing.items() if count}
        assert report["left_out_by_request"].get(request.id, {}) == missing
        for name, count in missing.items():
            total[name] += count
    assert report["prompts_left_out"] == total
