"""The command `mose` writes and prints what the library gives."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import OPTIONS, run
from front_door import FACTS, all_weights, same

import mose
from mose.cli import workflow
from mose.editing import patches
from mose.errors import StoreError
from mose.methods.register import OWN
from mose.models import loading
from mose.storage import cache
from mose.storage.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("edit", "tune", "ask", "evaluate", "export", "inspect", "check", "methods", "models", "run"),
    *("cache list", "cache clear"),
)


@pytest.fixture(scope="module")
def by_library(folder):
    """The same edits by the library."""
    editor = mose.Editor.from_pretrained(folder / "base", "memit", device="cpu", **OPTIONS)
    editor.edit(FACTS[:3])
    return editor


def test_edit_writes_what_the_library_gives(folder, by_library):
    edits = json.loads((folder / "edits.json").read_text())
    expected = json.loads(by_library.edits.to_json(orient="records"))
    for row, wanted in zip(edits, expected, strict=True):
        assert row | {"seconds": 0} == pytest.approx(wanted | {"seconds": 0})
    model, _ = loading.load_directory(folder / "edited")
    assert same(all_weights(by_library.model), all_weights(model))
    base, _ = loading.load_directory(folder / "base")
    mose.apply_patch(base, folder / "edit.safetensors")
    assert same(all_weights(by_library.model), all_weights(base))


def test_ask_answers_of_directory_patch_and_state_alike(folder, by_library):
    text = "The capital of France is"
    expected = by_library.ask(text, tokens=4)
    device = ("--tokens", 4, "--device", "cpu")
    assert run("ask", folder / "edited", text, *device) == (0, f"{expected}\n", "")
    patched = ("--patch", folder / "edit.safetensors", "--json")
    status, out, _ = run("ask", folder / "base", text, *device, *patched)
    assert (status, json.loads(out)) == (0, [{"prompt": text, "answer": expected}])
    assert run("ask", folder / "state.h5", text, *device)[1] == f"{expected}\n"
    assert run("ask", folder / "base", text, *device)[1] != f"{expected}\n"


def test_evaluate_gives_the_editor_s_metrics(folder, by_library):
    expected = by_library.evaluate(FACTS[:3]).set_index("metric")["value"].to_dict()
    for model, *more in (
        (folder / "state.h5",),
        (folder / "base", "--patch", folder / "edit.safetensors"),
    ):
        out = run("evaluate", model, folder / "facts.json", *more, "--device", "cpu", "--json")[1]
        assert {row["metric"]: row["value"] for row in json.loads(out)} == pytest.approx(expected)


def test_a_state_is_continued_and_exported(folder, by_library, tmp_path):
    arguments = ("--device", "cpu", "--state", tmp_path / "more.h5")
    status, out, errors = run("edit", folder / "state.h5", folder / "more.json", *arguments)
    assert status == 0, errors
    assert out.splitlines()[0].split()[:2] == ["request", "subject"]
    assert len(out.splitlines()) == 6
    status, _, errors = run(
        "export", tmp_path / "more.h5", "--patch", tmp_path / "more.safetensors", "--adapter",
        tmp_path / "adapter", "--device", "cpu",
    )  # fmt: skip
    assert status == 0, errors
    longer = mose.Editor.from_pretrained(folder / "base", "memit", device="cpu", **OPTIONS)
    longer.edit(FACTS[:3])
    longer.edit(FACTS[3:5])
    base, _ = loading.load_directory(folder / "base")
    mose.apply_patch(base, tmp_path / "more.safetensors")
    assert same(all_weights(longer.model), all_weights(base))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_a_fact_that_a_state_holds_can_be_refused(folder, tmp_path):
    again = tmp_path / "again.h5"
    status, _, errors = run(
        "edit", folder / "state.h5", folder / "facts.json", "--repeated", "refuse",
        "--device", "cpu", "--state", again,
    )  # fmt: skip
    assert status == 1
    assert "has the subject and prompt of" in errors
    assert not again.exists()


def test_a_state_is_continued_in_place_however_its_path_is_spelled(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.h5").write_bytes((folder / "state.h5").read_bytes())
    more = folder / "more.json"
    status, out, errors = run("edit", "own.h5", more, "--device", "cpu", "--state", "./own.h5")
    assert status == 0, errors
    assert len(out.splitlines()) == 6


def test_an_output_that_fails_takes_no_other_with_it(folder, tmp_path, monkeypatch):
    def full(_editor, path):
        raise StoreError(f"{path}: no space left")

    monkeypatch.setattr(mose.Editor, "save", full)
    patch, state = tmp_path / "p.safetensors", tmp_path / "s.h5"
    status, _, errors = run(
        "edit", folder / "state.h5", folder / "more.json", "--device", "cpu", "--state", state,
        "--patch", patch,
    )  # fmt: skip
    assert status == 1
    assert "no space left" in errors
    assert len(patches.read_patch(patch).facts) == 5


def test_an_interrupted_edit_writes_what_was_edited(folder, tmp_path, monkeypatch):
    edit = mose.Editor.edit

    def interrupted(editor, requests, **options):
        edit(editor, requests[:2], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(mose.Editor, "edit", interrupted)
    pairs = [f"--option={key}={json.dumps(value)}" for key, value in OPTIONS.items()]
    status, _, _ = run(
        "edit", folder / "base", folder / "facts.json", "--method", "memit", *pairs, "--device",
        "cpu", "--patch", tmp_path / "two.safetensors",
    )  # fmt: skip
    assert status == 130
    assert len(patches.read_patch(tmp_path / "two.safetensors").facts) == 2


def test_tune_prints_the_ranking_and_edit_takes_the_best(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    scan = {"learning_rate": [0.0001, 0.003, 0.01]}
    options = {"layers": [1, 2], "templates": ["{}"], "batch": 4, "edits": 3, "scan": scan}
    pairs = [f"-o{key}={json.dumps(value)}" for key, value in options.items()]
    status, out, errors = run(
        "tune", folder / "base", "--method", "ft", *pairs, "--device", "cpu", "--json"
    )
    assert status == 0, errors
    ranking = json.loads(out)
    assert [row["rank"] for row in ranking] == [1, 2, 3]
    editor = mose.Editor.from_pretrained(folder / "base", "ft", device="cpu")
    assert f"learning_rate {ranking[0]['learning_rate']}," in f"{editor.settings},"


def test_inspect_says_what_every_file_is(folder):
    def said(name):
        status, out, errors = run("inspect", folder / name, "--json")
        assert status == 0, errors
        return json.loads(out)

    fingerprint = loading.fingerprint_of(folder / "base")
    assert said("edit.safetensors")["kind"] == "patch"
    for name in ("edit.safetensors", "edited"):
        about = said(name)
        assert [fact["subject"] for fact in about["facts"]] == ["France", "Italy", "Germany"]
        assert about["fingerprint"] == fingerprint
    state = said("state.h5")
    assert (state["kind"], state["edits"], state["model"]) == ("checkpoint", 3, fingerprint)
    assert len(state["edited"]) == 3
    statistics = next(cache.folder().rglob("layer1.h5"))
    status, out, _ = run("inspect", statistics, "--json")
    assert (status, json.loads(out)["kind"]) == (0, "moments")
    status, out, _ = run("inspect", folder / "edit.safetensors")
    assert (status, out.splitlines()[0].split()) == (0, ["kind", "patch"])


def test_check_reads_configurations_and_facts_and_runs_nothing(folder, tmp_path):
    status, out, _ = run("check", ROOT / "config" / "demo.yaml", "--json")
    assert (status, json.loads(out)["models"]) == (0, ["smollm2-135m"])
    assert run("check", ROOT / "config" / "models" / "gpt2-xl.yaml")[0] == 0
    assert run("check", folder / "facts.json")[0] == 0
    wrong = [FACTS[0], {**FACTS[1], "prompt": "It is"}]
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    status, out, _ = run("check", tmp_path / "wrong.json", "--json")
    assert status == 1
    assert json.loads(out)["refused"] == {"subject not in the prompt": 1}
    lines = [
        line.split(maxsplit=1) for line in run("check", tmp_path / "wrong.json")[1].splitlines()
    ]
    assert ["refused", "subject not in the prompt: 1"] in lines
    assert ["examples", "subject not in the prompt: record 1"] in lines
    (tmp_path / "wrong.yaml").write_text("experiment: a\nmodels: [smollm2-135m]\nlayer: 3\n")
    status, _, errors = run("check", tmp_path / "wrong.yaml")
    assert status == 1
    assert "unknown key 'layer'" in errors


def test_check_asks_whether_the_models_are_there(tmp_path):
    (tmp_path / "mine.yaml").write_text("source: {local: nowhere}\n")
    experiment = {
        **{"experiment": "a", "models": [str(tmp_path / "mine.yaml")]},
        **{"datasets": {"facts": {"source": "builtin"}}, "edits": {"total": 100}},
        "methods": {"memit": {"method": "memit", "layers": [1], "lambda": 1, "learning_rate": 0.5}},
    }
    (tmp_path / "mine-too.yaml").write_text(json.dumps(experiment))
    status, _, errors = run("check", tmp_path / "mine-too.yaml")
    assert status == 1
    assert "source.local: nowhere: no such file or directory" in errors


def test_columns_may_have_names_of_their_own(folder, tmp_path):
    """As a table of somebody else has: the same facts, and one of them twice."""
    rows = [
        {"Subj": one["subject"], "prompt": one["prompt"], "answer": one["target_new"]}
        for one in [*FACTS, {**FACTS[0], "target_new": "Rome"}]
    ]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    names = "{subject: Subj, target_new: answer}"
    status, out, _ = run("check", tmp_path / "own.json", "--columns", names, "--json")
    assert status == 0
    assert json.loads(out)["read"] == len(rows)
    assert json.loads(out)["replaced_by_later"] == 1
    own = run("evaluate", folder / "base", tmp_path / "own.json", "--columns", names, "--json")
    (tmp_path / "plain.json").write_text(json.dumps([*FACTS, {**FACTS[0], "target_new": "Rome"}]))
    assert own[0] == 0, own[2]
    found = {row["metric"]: row["value"] for row in json.loads(own[1])}
    plain = json.loads(run("evaluate", folder / "base", tmp_path / "plain.json", "--json")[1])
    assert found["reliability"] == {row["metric"]: row["value"] for row in plain}["reliability"]


def test_methods_models_and_cache_are_listed():
    listed = json.loads(run("methods", "--json")[1])
    needs = {row["method"]: row["needs"] for row in listed}
    assert needs["memit"] == needs["rect"] == ["layers", "learning_rate", "lambda"]
    assert needs["ft"] == ["layers"]
    what = {row["method"]: row["what"] for row in listed}
    assert "W <- R W," in what["mose-published"]
    assert needs["memit-memory"] == needs["memit"]
    known = {row["model"]: row for row in json.loads(run("models", "--json")[1])}
    assert known["smollm2-135m"]["blocks"] == 30
    divided = read_yaml(ROOT / "config" / "models" / "gemma3-270m.yaml")["source"]["parts"]
    assert known["gemma3-270m"]["source"].split(", ") == [part["package"] for part in divided]
    assert "mose" in known["smollm2-135m"]["settings"]
    (entry,) = json.loads(run("cache", "list", "--json")[1])
    assert entry["kind"] == "statistics"
    assert Path(entry["path"]).is_dir()
    assert run("cache", "clear", "--kind", "models")[1] == "nothing\n"
    assert Path(entry["path"]).is_dir()


def test_every_method_is_described_from_what_the_documentation_has():
    documented = (ROOT / "docs" / "methods.md").read_text()
    rows = {row["method"]: row for row in json.loads(run("methods", "--json")[1])}
    assert {*rows} >= {*OWN, "mose-published", "memit-memory"}
    for name, row in rows.items():
        assert all(len(row[key]) > 10 for key in ("what", "source", "cost", "use")), name
        assert row["what"].endswith("."), name
        papers = re.findall(r"\d{4}\.\d{5}", row["source"])
        assert papers or "this project" in row["source"]
        # A paper is named beside its method.
        for paper in papers:
            assert paper in documented, name
    out = run("methods")[1]
    assert max(map(len, out.splitlines())) <= 100
    assert [line for line in out.splitlines() if line and line[0] != " "] == [*rows]
    some = run("methods", "memit", "rect")[1]
    assert [line for line in some.splitlines() if line and line[0] != " "] == ["memit", "rect"]
    assert "    needs   layers, learning_rate, lambda" in some.splitlines()


def test_run_is_snakemake_on_the_packaged_workflow(folder, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: called.append(arguments))
    config = tmp_path / "mine.yaml"
    config.write_text("experiment: mine\n")
    assert run("run", config, "-n", "--forceall")[0] == 0
    assert run("run", config, "--cores", "3", "--full")[0] == 0
    assert run("run", config, "--set-resources", "edit:runtime=7", "--", "report_page")[0] == 0
    whole, own, target = called
    # Without "--", Snakemake would take the target as one more resource.
    assert target[-4:] == ["--set-resources", "edit:runtime=7", "--", "report_page"]
    short = ["--configfile", str(config), "--logger", "mose"]
    assert whole == workflow.command_of([*short, "--cores", "all", "-n", "--forceall"])
    assert own[-4:] == ["--configfile", str(config), "--cores", "3"]


def test_the_version_is_the_installed_one():
    assert run("--version") == (0, f"mose {mose.__version__}\n", "")


@pytest.mark.parametrize("name", ["", "cache", *COMMANDS])
def test_every_command_explains_itself_with_an_example(name):
    status, out, _ = run(*name.split(), "--help")
    assert status == 0
    assert f"Example: mose {name}".strip() in " ".join(out.split())


def test_help_is_shown_at_once():
    begun = time.monotonic()
    program = [sys.executable, "-m", "mose.cli.main"]
    shown = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True)
    spent = time.monotonic() - begun
    assert all(name.split()[0] in shown.stdout for name in COMMANDS)
    heavy = "import sys, mose.cli.main; print({'torch', 'pandas', 'snakemake'} & {*sys.modules})"
    shown = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "set()\n"
    # 0.3 s on an idle machine.
    assert spent < 3


def test_a_workflow_without_a_configuration_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"config/demo\.yaml is not in this folder; give one with"):
        workflow.main(["--cores", "2"])
