"""What a person sees of an editor: facts in any form, answers, tables, the cache, and refusals."""

import json
import logging
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import tiny
import torch
from front_door import FACTS, all_weights, editor_of, options_of, same

import mose
from mose.errors import StoreError
from mose.evaluation import neighbours
from mose.experiment import settings
from mose.facts.given import requests_of
from mose.facts.requests import Probe
from mose.statistics import corpus, second_moments
from mose.storage import cache


@pytest.fixture(scope="module")
def edited():
    """An editor with three edits, the last of which displaces the others; tests read it."""
    editor = editor_of("ft", steps=40, learning_rate=0.05, stop_loss=0.001)
    facts = enumerate(FACTS[:3])
    editor.edit([{**fact, "target_true": "Paris", "id": f"f{i}"} for i, fact in facts])
    return editor


def continued(model, text, tokens):
    """Greedy continuation by transformers itself: ids, one full pass each."""
    ids = tiny.tokenizer()(text)["input_ids"]
    for _ in range(tokens):
        with torch.no_grad():
            ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids[len(ids) - tokens :]


def right_tokens(model, prompt, target):
    """Share of the target's tokens that are the likeliest, by plain passes of the whole model."""
    start = tiny.tokenizer()(prompt)["input_ids"]
    ids = tiny.tokenizer()(f"{prompt} {target}")["input_ids"]
    with torch.no_grad():
        likeliest = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    wanted = ids[len(start) :]
    return sum(a == b for a, b in zip(likeliest[len(start) - 1 :], wanted, strict=False)) / len(
        wanted
    )


def test_answers_are_the_model_s_greedy_continuations(edited):
    text = "The capital of France is"
    expected = tiny.tokenizer().decode(continued(edited.model, text, 6)).strip()
    assert edited.ask(text, tokens=6) == expected
    assert edited.ask([text], tokens=6) == [expected]


def test_the_table_of_edits_says_what_is_still_there(edited):
    table = edited.edits
    assert table["request"].tolist() == ["f0", "f1", "f2"]
    assert table["target_new"].tolist() == [fact["target_new"] for fact in FACTS[:3]]
    for row in table.itertuples():
        share = right_tokens(edited.model, row.prompt.replace("{}", row.subject), row.target_new)
        assert row.still_there == (share == 1)
    assert table["still_there"].any()
    assert not table["still_there"].all()
    assert (table["loss"] > 0).all()
    assert (table["seconds"] > 0).all()


def test_facts_that_the_model_does_not_tell_are_named(caplog):
    """By the table's own column: a retention weight that lets nothing be written, and one edit that
    is."""
    lm = tiny.model()
    options = {**options_of("memit"), "retention_weight": 1e12}
    editor = mose.Editor(lm.model, lm.tokenizer, **options)
    editor.edit(FACTS[:2])
    (record,) = (each for each in caplog.records if each.levelno == logging.WARNING)
    assert not editor.edits.still_there.any()
    assert record.getMessage().startswith("2 of 2 facts are not what the model says now (")
    for fact in FACTS[:2]:
        assert fact["subject"] in record.getMessage()


def test_facts_that_the_model_tells_are_not(edited, caplog):
    told = edited.edits.still_there
    requests = zip(edited.session.requests, told, strict=True)
    edited._warn_of_unwritten([request for request, there in requests if there])
    assert told.any()
    assert not caplog.records


def likeliest(model, prompt, target):
    """The likeliest token at each place of the target, by one plain pass."""
    start = len(tiny.tokenizer()(prompt)["input_ids"])
    ids = tiny.tokenizer()(f"{prompt} {target}")["input_ids"]
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, start - 1 : -1].argmax(-1).tolist()


WRITES_MUCH = options_of("ft", steps=40, learning_rate=0.05, stop_loss=1e-4)
WRITES_NOTHING = {**options_of("memit"), "retention_weight": 1e12}


@pytest.mark.parametrize("options", [WRITES_MUCH, WRITES_NOTHING], ids=["much", "nothing"])
def test_neighbours_that_get_another_answer_are_named(options, caplog):
    """By plain passes of the model and of a fresh one."""
    pairs = [(f"The river of {name} is", target) for name, target in tiny.FACTS]
    locality = [{"prompt": prompt, "target": target} for prompt, target in pairs]
    facts = [{**FACTS[0], "locality": locality[:7]}, {**FACTS[1], "locality": locality[5:]}]
    lm, fresh = tiny.model(), tiny.model().model
    editor = mose.Editor(lm.model, lm.tokenizer, **options)
    editor.edit(facts)
    said = [one.getMessage() for one in caplog.records if "neighbour" in one.getMessage()]
    changed = [pair for pair in pairs if likeliest(editor.model, *pair) != likeliest(fresh, *pair)]
    assert bool(changed) == (options is WRITES_MUCH)
    named = f"{len(changed)} of {len(pairs)} neighbour prompts asked have another answer"
    assert [line[: len(named)] for line in said] == [named] * bool(changed)
    # Asking changes nothing: weights and table are those of the same edits without neighbours.
    lm = tiny.model()
    other = mose.Editor(lm.model, lm.tokenizer, **options)
    other.edit([{k: v for k, v in fact.items() if k != "locality"} for fact in facts])
    assert same(all_weights(editor.model), all_weights(other.model))
    assert editor.edits.drop(columns="seconds").equals(other.edits.drop(columns="seconds"))


def test_neighbours_that_cannot_be_asked_are_said(edited):
    request = replace(edited.session.requests[0], locality=(Probe("", "Japan"),))
    said = neighbours.notice(edited.session.lm, edited.session.unedited, [request])
    assert said.startswith("neighbour prompts were not asked: ' Japan': prompt or target is empty")


def test_no_more_neighbours_are_asked_than_edits_but_for_few_edits():
    probes = [Probe(f"{i}", "x") for i in range(200)]
    request = requests_of(FACTS[:1])[0]
    one = replace(request, locality=tuple(probes[:50]))
    assert neighbours.asked_of([one]) == probes[:32]
    many = [replace(request, locality=tuple(probes[i : i + 2])) for i in range(0, 200, 2)]
    assert neighbours.asked_of(many) == probes[::2]
    assert neighbours.asked_of([request]) == []
    assert neighbours.asked_of([one, one]) == probes[:32]


def test_metrics_are_means_of_what_plain_passes_give(edited):
    facts = [{**fact, "locality": [{"prompt": "Tokyo is in", "target": "Japan"}]} for fact in FACTS]
    before = all_weights(edited.model)
    table = edited.evaluate(facts).set_index("metric")
    prompts = [
        (fact["prompt"].replace("{}", fact["subject"]), fact["target_new"]) for fact in FACTS
    ]
    shares = [right_tokens(edited.model, *pair) for pair in prompts]
    assert table.loc["reliability", "value"] == pytest.approx(sum(shares) / len(shares))
    assert table.loc["reliability", "facts"] == len(facts)
    # The likeliest tokens of the unedited model, at the places of the neighbour's object.
    ids = tiny.tokenizer()("Tokyo is in Japan")["input_ids"]
    start = len(tiny.tokenizer()("Tokyo is in")["input_ids"])
    with torch.no_grad():
        now, unedited = (
            model(torch.tensor([ids])).logits[0].argmax(-1)[start - 1 : -1]
            for model in (edited.model, tiny.model().model)
        )
    assert table.loc["locality", "value"] == pytest.approx((now == unedited).double().mean())
    assert same(before, all_weights(edited.model)), "the edits are back in the model"
    each = edited.evaluate(facts, each=True)
    assert set(each["request"]) == {str(i) for i in range(len(facts))}
    assert set(edited.evaluate()["metric"]) >= {"reliability", "efficacy"}


def test_stability_is_that_of_the_matrices_in_the_model(edited):
    unedited = tiny.model()
    table = edited.stability().set_index("layer")
    assert table.index.tolist() == [1]
    for layer in table.index:
        now, before = (one.weight(layer).double() for one in (edited.session.lm, unedited))
        change = torch.linalg.matrix_norm(now - before) / torch.linalg.matrix_norm(before)
        assert table.loc[layer, "relative_change"] == pytest.approx(float(change))


def test_facts_may_come_in_every_form(tmp_path):
    expected = requests_of(FACTS)
    assert [request.target_new for request in expected] == [fact["target_new"] for fact in FACTS]
    frame = pd.DataFrame(FACTS)
    assert requests_of(frame) == expected
    frame.to_csv(tmp_path / "facts.csv", index=False)
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    assert requests_of(tmp_path / "facts.csv") == expected
    assert requests_of(str(tmp_path / "facts.json")) == expected
    assert requests_of(expected) == expected
    assert requests_of(FACTS[0]) == expected[:1]
    # A subject in place of {}, and another column's name.
    spelled = [{"subject": "France", "prompt": "France has the capital", "answer": "Rome"}]
    (request,) = requests_of(spelled, columns={"target_new": "answer"})
    assert (request.prompt, request.target_new) == ("{} has the capital", "Rome")
    # Facts that are edited later get ids of their own.
    assert [request.id for request in requests_of(FACTS[:2], taken=["0"])] == ["0#2", "1"]


def test_prune_is_asked_and_measured_as_pruned():
    editor = editor_of("prune", log_base=1.2, steps=20, learning_rate=0.5, clamp=4.0)
    editor.edit(FACTS[:2])
    states = editor.session.state.editors
    for layer, one in states.items():
        assert torch.equal(editor.session.lm.weight(layer), one.measured.float())
    assert any(not torch.equal(one.measured.float(), one.weight) for one in states.values())


def test_statistics_are_made_once_and_kept_by_model_and_options(monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    asked = []
    write = corpus.write_part
    monkeypatch.setattr(corpus, "write_part", lambda *a, **k: asked.append(a) or write(*a, **k))
    for _ in range(2):
        editor_of("memit").edit(FACTS[:1])
    assert len(asked) == 1
    editor_of("memit", layers=[1, 3]).edit(FACTS[:1])  # one more layer of the same text
    assert len(asked) == 1
    editor_of("memit", tokens=700).edit(FACTS[:1])
    assert len(asked) == 2
    text = tmp_path / "mine.txt"
    text.write_text("\n".join(tiny.TEXT * 30))
    editor_of("memit", corpus=text).edit(FACTS[:1])
    assert len(asked) == 3
    kept = cache.entries()
    assert [entry.kind for entry in kept] == ["statistics"] * 3
    assert all(entry.size > 0 for entry in kept)
    (tmp_path / "cache" / "mine.txt").touch()
    assert cache.clear("models") == []
    assert cache.clear() == kept
    assert cache.entries() == []
    assert (tmp_path / "cache" / "mine.txt").exists()


def test_methods_that_are_trained_make_no_statistics(monkeypatch, tmp_path):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    editor_of("ft").edit(FACTS[:1])
    assert not (tmp_path / "cache").exists()


def test_a_workflow_s_second_moments_are_used_where_given(tiny_folder, tmp_path):
    """Written by the workflow's function, of the text that the editor would sample."""
    with pytest.raises(StoreError, match=r"moments\.h5: no such file"):
        editor_of("memit", moments=tmp_path / "moments.h5")
    plain = mose.Editor.from_pretrained(tiny_folder, device="cpu", **options_of("memit"))
    block = plain.arguments.options.block()
    corpus.write_part(tmp_path / "windows.h5", plain.session.lm, block, "windows0")
    second_moments.write_shard(
        tmp_path / "moments.h5", plain.session.lm, tmp_path / "windows.h5", [1, 2], False,
        "float32", (0, 1),
    )  # fmt: skip
    plain.edit(FACTS[:1])
    options = {**options_of("memit"), "corpus": "sampled", "moments": tmp_path / "moments.h5"}
    given = mose.Editor.from_pretrained(tiny_folder, device="cpu", **options)
    given.edit(FACTS[:1])
    assert same(all_weights(plain.model), all_weights(given.model))
    # They are of this model alone.
    with pytest.raises(StoreError, match="made with model"):
        editor_of("memit", moments=tmp_path / "moments.h5").edit(FACTS[:1])


def test_settings_are_the_model_file_s_or_said_to_be_another_model_s(tiny_folder, tmp_path, caplog):
    own = tmp_path / "mine.yaml"
    own.write_text(
        f"source: {{local: '{tiny_folder}'}}\nmethods:\n  mose: {{method: mose, layers: [2], "
        "lambda: 7, learning_rate: 0.3}\n"
    )
    with caplog.at_level(logging.INFO):
        editor = mose.Editor.from_pretrained(own, device="cpu", steps=4)
        options = editor.session.variant.as_dict()
        assert (options["layers"], options["lambda"], options["steps"]) == ([2], 7, 4)
        assert f"{own}: methods.mose" in editor.settings
        assert editor.settings in caplog.text
        assert (options["side"], options["memory"]) == ("both", "accumulate")
    published = mose.Editor.from_pretrained(own, "mose-published", device="cpu")
    published = published.session.variant.as_dict()
    assert (published["side"], published["memory"], published["layers"]) == ("output", "none", [2])
    caplog.clear()
    editor = mose.Editor.from_pretrained(tiny_folder, device="cpu")
    (record,) = (each for each in caplog.records if each.levelno == logging.WARNING)
    assert record.getMessage() == editor.settings
    assert "no settings for this model: those of smollm2-135m" in editor.settings
    # Layers 4 to 8 of 30 blocks are the first of four.
    assert editor.session.variant.edit.layers == (0,)


def test_mose_is_two_sided_by_its_own_entry_or_by_that_of_the_published_form():
    published = {"method": "mose", "layers": [2], "lambda": 7, "learning_rate": 0.3}
    both = {**published, "side": "both", "memory": "none", "lambda": 9}
    entries = {"mose": published, "mose-both": both}
    taken = settings.choose("mose", {}, entries, "mine.yaml").entry(4, 1000)
    assert (taken["side"], taken["memory"], taken["lambda"]) == ("both", "none", 9)
    given = settings.choose("mose", {"memory": "accumulate"}, entries, "mine.yaml")
    assert given.entry(4, 1000)["memory"] == "accumulate"
    fallen = settings.choose("mose", {}, {"mose": published}, "mine.yaml").entry(4, 1000)
    assert (fallen["side"], fallen["memory"], fallen["lambda"]) == ("both", "accumulate", 7)
    alone = {"layers": [1], "retention_weight": 3, "learning_rate": 0.1}
    assert settings.choose("mose", alone).variant(4, 1000).as_dict()["side"] == "both"
    one = settings.choose("mose-published", {}, entries, "mine.yaml").variant(4, 1000).as_dict()
    assert (one["side"], one["memory"], one["lambda"]) == ("output", "none", 7)
    memit = {"method": "memit", "layers": [2], "lambda": 5, "learning_rate": 0.3}
    kept = settings.choose("memit-memory", {}, {"memit": memit}, "mine.yaml").entry(4, 1000)
    assert (kept["method"], kept["memory"], kept["lambda"]) == ("memit", "keys", 5)
    # Of the models known, the one whose size is nearest: here Llama-3-8B, by its `mose`.
    large = settings.choose("mose", {}).entry(32, 8_000_000_000)
    assert (large["side"], large["memory"]) == ("both", "accumulate")


def test_a_loaded_model_of_a_known_hub_id_has_its_file_s_settings(tmp_path, monkeypatch):
    path = tmp_path / "config" / "models" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "source: {hub: some/one}\nmethods: {memit: {method: memit, layers: [3], lambda: 9, "
        "learning_rate: 0.1}}\n"
    )
    monkeypatch.chdir(tmp_path)
    lm = tiny.model()
    lm.model.config._name_or_path = "some/one"
    editor = mose.Editor(lm.model, lm.tokenizer, "memit")
    assert editor.session.variant.as_dict()["layers"] == [3]
    assert repr(editor) == "Editor(some/one, memit, 0 edits)"


def test_importing_is_quick_and_names_little():
    text = (
        "import sys, time; start = time.process_time(); import mose; "
        "print(time.process_time() - start, *mose.__all__); assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    seconds, *names = shown.stdout.split()
    assert float(seconds) < 0.2
    assert names == ["Editor", "__version__", "apply_patch", "remove_patch", "tune"]
    with pytest.raises(AttributeError, match="no attribute 'Editr'"):
        _ = mose.Editr
