"""`mose.tune` ranks what an editor would give, and the editor takes the best afterwards."""

import statistics

import pytest
import tiny
import yaml
from front_door import SMALL, all_weights, cache_in, refused, same

import mose
from mose import tuning
from mose.editing import shared_targets
from mose.editing.arguments import split_arguments
from mose.errors import ConfigError, StoreError
from mose.methods.register import parse_variant
from mose.storage import cache

# What a tiny model can be taught, with the rates that teach it and one that does not.
FT = {"layers": [1, 2], "templates": ("{}",), "batch": 4}
SCAN = {"learning_rate": [1e-9, 0.003, 0.01]}
EDITS = 3


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    yield from cache_in(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def tuned(tiny_folder, own_cache):
    return mose.tune(tiny_folder, "ft", edits=EDITS, scan=SCAN, device="cpu", **FT)


def editor(tiny_folder, method="ft", **options):
    return mose.Editor.from_pretrained(tiny_folder, method, device="cpu", **options)


def test_the_ranking_is_what_the_editor_measures(tuned, tiny_folder):
    assert sorted(map(float, tuned["learning_rate"])) == SCAN["learning_rate"]
    assert list(tuned["rank"]) == [1, 2, 3]
    # The harmonic mean is 0 where nothing is written, and that rate comes last.
    assert tuned["score"][0] > tuned["score"][2] == 0
    assert tuned["learning_rate"][2] == "1e-09"
    measures = ["reliability", "generalization", "locality", "efficacy", "paraphrase"]
    for _, row in tuned.iterrows():
        one = editor(tiny_folder, learning_rate=float(row["learning_rate"]), **FT)
        one.edit(tuning._requests(EDITS, 0))
        expected = one.evaluate().set_index("metric")["value"]
        assert list(row[measures]) == pytest.approx(list(expected[measures]))
        assert row["score"] == pytest.approx(statistics.harmonic_mean(row[measures[:3]]))


def test_the_editor_takes_what_was_found(tuned, tiny_folder):
    found = editor(tiny_folder)
    rate = float(tuned["learning_rate"][0])
    expected = parse_variant({"method": "ft", "layers": [1, 2], "learning_rate": rate})
    assert found.session.variant == expected
    said = f"found by mose.tune on {EDITS} built-in facts, score {tuned['score'][0]:.3f}"
    assert said in found.settings
    # What is given comes first, and other methods know nothing of it.
    given = editor(tiny_folder, steps=7)
    assert given.session.variant.as_dict() == {**expected.as_dict(), "steps": 7}
    assert "not tuned: mose.tune finds better ones" in editor(tiny_folder, "memit").settings


def test_settings_of_the_model_s_own_file_come_first(tuned, tiny_folder, tmp_path):
    own = {"ft": {"method": "ft", "layers": [3], "learning_rate": 0.5}}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"source": {"local": str(tiny_folder)}, "methods": own}))
    assert editor(path).session.variant == parse_variant(own["ft"])
    refused(ConfigError, ["has settings of ft"], lambda: mose.tune(path, "ft", device="cpu"))


def test_a_loaded_model_is_tuned_too_and_left_as_it_was(own_cache):
    lm = tiny.model()
    before = all_weights(lm.model)
    scan = {"learning_rate": [0.01]}
    mose.tune(lm.model, "ft", tokenizer=lm.tokenizer, edits=EDITS, scan=scan, **FT)
    assert same(before, all_weights(lm.model))
    found = mose.Editor(lm.model, lm.tokenizer, "ft")
    assert "found by mose.tune" in found.settings
    path = cache.of_settings(found.session.lm.fingerprint)
    assert path in [entry.path for entry in cache.entries() if entry.kind == "settings"]
    cache.clear("settings")
    assert not path.exists()
    assert "not tuned" in mose.Editor(lm.model, lm.tokenizer, "ft").settings


def test_the_budget_is_six_combinations_around_the_settings_that_the_editor_would_take():
    around = tuning._around({"method": "memit", "lambda": 100, "learning_rate": 0.5, "clamp": None})
    assert around == {"lambda": [10.0, 100.0, 1000.0], "learning_rate": [0.2, 0.5]}
    assert tuning.EDITS == 20
    assert len(tuning._requests(20, 0)) == 20


def test_mistakes_are_one_line(tiny_folder):
    def tune(*arguments, **options):
        return lambda: mose.tune(*arguments, device="cpu", **options)

    wrong = [
        (tune("smollm2-135m"), "smollm2-135m.yaml has settings of mose"),
        (tune(tiny_folder, "memti"), "did you mean"),
        (tune(tiny_folder, edits=0), "edits: found 0"),
        (tune(tiny_folder, edits=10**6), "built-in facts to tune"),
        (tune(tiny_folder, "memit", scan={"lamda": [1]}), "unknown key 'lamda'"),
        (tune(tiny.model().model), "tokenizer: found none"),
    ]
    for call, said in wrong:
        refused(ConfigError, [said], call)


def test_nothing_is_remembered_where_nothing_was_written(tiny_folder):
    """Methods that need second moments and templates, which are made once for all."""
    cache.clear("settings")
    options = {"layers": [1], "steps": 1, **SMALL}
    scan = {"lambda": [1e12, 1e13]}

    def call():
        return mose.tune(tiny_folder, "memit", edits=2, scan=scan, device="cpu", **options)

    refused(ConfigError, ["all scores are 0", "nothing is remembered"], call)
    assert [entry for entry in cache.entries() if entry.kind == "settings"] == []


def test_a_damaged_file_is_named(tiny_folder):
    path = cache.of_settings(editor(tiny_folder).session.lm.fingerprint) / "ft.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"entry": {"method": "ft"}, "score": 1.0, "edits": 4}')
    refused(StoreError, [str(path), "remove it"], lambda: editor(tiny_folder))
    path.unlink()


OPTIONS = {"method": "memit", "layers": [1, 2], "steps": 3, "learning_rate": 0.2}


def memit_scan(lm, share=True):
    entries = {str(weight): {**OPTIONS, "lambda": weight} for weight in (0.01, 0.05, 1.0)}
    variants = {label: parse_variant(entry) for label, entry in entries.items()}
    arguments, _ = split_arguments(dict(SMALL))
    return tuning._Scan(lm, "memit", variants, tuning._requests(EDITS, 0), arguments, share)


def test_variants_share_targets_of_the_unedited_model(own_cache, monkeypatch):
    sought, find = [], shared_targets.find
    monkeypatch.setattr(shared_targets, "find", lambda *given: sought.append(given) or find(*given))
    lm = tiny.model()
    scan = memit_scan(lm)
    rows = scan.rows()
    scan.forget()
    assert len(rows) == 3
    assert len(sought) == 1
    given = {key: value for key, value in OPTIONS.items() if key != "method"} | SMALL
    for row in rows:
        one = mose.Editor(
            lm.model, lm.tokenizer, "memit", targets_from="unedited",
            retention_weight=float(row["method"]), **given,
        )  # fmt: skip
        one.edit(tuning._requests(EDITS, 0))
        expected = one.evaluate().set_index("metric")["value"]
        assert {name: row[name] for name in expected.index} == pytest.approx(dict(expected))
        one.undo()
    assert memit_scan(lm, share=False)._targets(parse_variant({**OPTIONS, "lambda": 1})) is None


def test_a_stopped_scan_goes_on_where_it_stopped(own_cache, monkeypatch):
    lm = tiny.model()
    scan = memit_scan(lm)
    whole = scan.rows()
    scan.forget()
    edited, stop_at, edit = [], 2, tuning.Session.edit

    def stopping(session, *arguments, **options):
        if len(edited) == stop_at:
            raise KeyboardInterrupt
        edited.append(session.variant.as_json())
        edit(session, *arguments, **options)

    monkeypatch.setattr(tuning.Session, "edit", stopping)
    with pytest.raises(KeyboardInterrupt):
        memit_scan(lm).rows()
    stop_at = None
    assert memit_scan(lm).rows() == whole
    assert len(edited) == len(set(edited)) == 3
    memit_scan(lm).forget()
    assert not scan.folder.parent.exists()
