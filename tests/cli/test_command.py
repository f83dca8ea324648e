"""The command `mose` writes and prints what the library gives; a mistake is one line."""

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import tiny
from front_door import FACTS, SMALL, all_weights, cache_in, same

import mose
from mose.cli import main as command
from mose.cli import workflow
from mose.editing import patches
from mose.models import loading
from mose.storage import cache
from mose.storage.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
# Strong edits, so that answers differ.
OPTIONS = {
    "layers": [1, 2], "lambda": 0.001, "learning_rate": 0.5, "steps": 20, "clamp": 9.0,
    "weight_decay": 0.0, "batch": 2, **SMALL,
}  # fmt: skip
COMMANDS = (
    *("edit", "tune", "ask", "evaluate", "export", "inspect", "check", "methods", "models", "run"),
    *("cache list", "cache clear"),
)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    yield from cache_in(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, facts, and what `mose edit` wrote of them: read by tests."""
    place = tmp_path_factory.mktemp("command")
    tiny.save(place / "base")
    (place / "facts.json").write_text(json.dumps(FACTS[:3]))
    (place / "more.json").write_text(json.dumps(FACTS[3:5]))
    (place / "none.json").write_text("[]")
    (place / "elsewhere.json").write_text(json.dumps([{**FACTS[0], "prompt": "It is"}]))
    pairs = [f"--option={key}={json.dumps(value)}" for key, value in OPTIONS.items()]
    status, out, _ = run(
        "edit", place / "base", place / "facts.json", "--method", "memit", *pairs, "--device",
        "cpu", "--out", place / "edited", "--patch", place / "edit.safetensors", "--state",
        place / "state.h5", "--json",
    )  # fmt: skip
    assert status == 0
    (place / "edits.json").write_text(out)
    return place


@pytest.fixture(scope="module")
def by_library(folder):
    """The same edits by the library."""
    editor = mose.Editor.from_pretrained(folder / "base", "memit", device="cpu", **OPTIONS)
    editor.edit(FACTS[:3])
    return editor


def run(*arguments):
    """Exit status, output and errors of the command, in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", ["mose", *map(str, arguments)])
        try:
            command.main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code or 0
    if isinstance(status, str):  # sys.exit(text) writes it, with status 1
        errors.write(status)
        status = 1
    return status, out.getvalue(), errors.getvalue()


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


def test_methods_models_and_cache_are_listed():
    listed = json.loads(run("methods", "--json")[1])
    needs = {row["method"]: row["needs"] for row in listed}
    assert needs["memit"] == needs["rect"] == ["layers", "learning_rate", "lambda"]
    assert needs["ft"] == ["layers"]
    what = {row["method"]: row["what"] for row in listed}
    assert what["mose-published"] == "W <- R W as published"
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


WRONG = {
    "nothing to write": (("edit", "base", "facts.json"), "nothing to write; give --out"),
    "a folder in use": (("edit", "base", "facts.json", "--out", "."), "is there already"),
    "an option without a value": (
        ("edit", "base", "facts.json", "--state", "s.h5", "-o", "steps"), "expected KEY=VALUE",
    ),
    "an option that is none": (
        ("edit", "base", "facts.json", "--state", "s.h5", "-o", "stepz=3"), "unknown key 'stepz'",
    ),
    "a method that is none": (
        ("edit", "base", "facts.json", "--state", "s.h5", "--method", "memti"), "did you mean",
    ),
    "options of a state": (
        ("edit", "state.h5", "facts.json", "--state", "s.h5", "-o", "steps=3"),
        "leave --method, --option",
    ),
    "facts that are not there": (
        ("evaluate", "base", "gone.json"), "gone.json: no such file; check the path",
    ),
    "a folder as facts": (
        ("edit", "base", ".", "--state", "s.h5"), "a folder, expected a file; give a file",
    ),
    "a folder to check": (("check", "."), "a folder, expected a file; give a file"),
    "no facts": (("edit", "base", "none.json", "--state", "s.h5"), "holds no records; give at"),
    "facts without their subjects": (
        ("edit", "base", "elsewhere.json", "--state", "s.h5"),
        "none of 1 records can be used: subject not in the prompt (1, record 0 first); correct",
    ),
    "a form that is none": (
        ("check", "facts.json", "--form", "countefact"), "did you mean 'counterfact'?",
    ),
    "a folder that is no model": (("ask", ".", "So"), "not a model; give a folder with config"),
    "a state that is not there": (
        ("export", "gone.h5", "--out", "new"), "gone.h5: no such file; give what mose edit --state",
    ),
    "a patch that is not there": (
        ("ask", "base", "So", "--patch", "gone.safetensors"), "no such file; give the path of a",
    ),
    "nothing to continue": (("ask", "base", " "), "found nothing to continue; give a text"),
    "facts as a configuration": (("run", "facts.json"), "expected an experiment's configuration"),
    "a model that is not there": (("ask", "bas", "So"), "known are"),
    "a patch of another base": (
        ("ask", "edited", "So", "--patch", "edit.safetensors"), "in this model already",
    ),
    "a file of another program": (("inspect", "facts.json"), "not an HDF5 file"),
    "no such file": (("inspect", "gone.h5"), "gone.h5: no such file"),
    "no configuration": (("run", "gone.yaml"), "gone.yaml: no such file"),
    "a kind that is none": (
        ("cache", "clear", "--kind", "all"), "expected models, statistics or settings",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_and_status_1(name, folder, monkeypatch):
    arguments, said = WRONG[name]
    monkeypatch.chdir(folder)
    status, out, errors = run(*arguments)
    assert (status, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert said in line


TOLD_AT_ONCE = (
    "a folder as facts", "no facts", "facts that are not there", "a model that is not there",
    "a state that is not there", "a patch that is not there", "nothing to continue",
    "nothing to write", "a folder in use", "an option without a value",
)  # fmt: skip
WITHOUT_TORCH = """
import sys
from mose.cli import main
for arguments in {calls}:
    sys.argv = ["mose", *arguments]
    try:
        main.main()
    except SystemExit as stopped:
        assert str(stopped.code).startswith("error: "), arguments
    else:
        raise AssertionError(arguments)
    assert not {{"torch", "transformers"}} & {{*sys.modules}}, arguments
"""


def test_names_and_files_are_checked_before_torch_is_imported(folder):
    program = WITHOUT_TORCH.format(calls=[WRONG[name][0] for name in TOLD_AT_ONCE])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_installed_one():
    assert run("--version") == (0, f"mose {mose.__version__}\n", "")


def test_wrong_usage_has_status_2():
    status, _, errors = run("ask")
    assert status == 2
    assert "Usage: mose ask" in errors


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("base", "--state", "/proc/none/s.h5"), "/proc: cannot be written"),
        (("base", "--state", "s.txt"), "--state: found 's.txt', expected a name in .h5"),
        (("base", "--state", "state.h5"), "state.h5: is there already; give another name"),
        (("base", "--patch", "edit.safetensors"), "edit.safetensors: is there already"),
        (("state.h5", "--method", "rome", "--state", "n.h5"), "leave --method, --option and"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_model_is_read(
    arguments, said, folder, by_library, monkeypatch
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(mose.Editor, "from_pretrained", None)
    model, *options = arguments
    status, _, errors = run("edit", model, "facts.json", "--device", "cpu", *options)
    assert status == 1
    assert said in errors
