"""Tasks in the workflow, with real Snakemake: a user's own files, without a line of code."""

import json

import pandas as pd
import pytest
import tiny
from project import CONFIG, METHODS, Project, check

from mose.evaluation.tasks import items, scoring
from mose.models import causal_lm, loading
from mose.storage.records import read_jsonl

TASKS = {
    "cities": {
        "kind": "choice",
        "source": {"file": "cities.csv"},
        "prompt": "{city} lies in",
        "choices": ["{country}", "{other}"],
        "label": "right",
        "labels": ["yes", "no"],
    },
    "capitals-open": "mine.yaml",
    "text": {"kind": "perplexity", "source": {"file": "text.txt"}, "window": 16, "stride": 8},
    "last": {
        "kind": "continuation",
        "source": {"file": "last.jsonl"},
        "prompt": "{context}",
        "answer": "continuation",
        "last_word": "text",
        "samples": 5,
    },
}
CHANGED = {
    "experiment": "small",
    "methods": {"memit": METHODS["memit"]},
    "tasks": TASKS,
    "edits": {"total": 2, "batch": 2, "checkpoint": 2, "tasks_every": 2},
    "corpus": {**CONFIG["corpus"], "shards": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("tasks"))
    folder = project.folder
    rows = [
        {"city": city, "country": country, "other": tiny.FACTS[i - 3][0], "right": "yes"}
        for i, (country, city) in enumerate(tiny.FACTS)
    ]
    for row in rows[::2]:
        row.update(country=row["other"], other=row["country"], right="no")
    pd.DataFrame(rows).to_csv(folder / "cities.csv", index=False)
    questions = [
        {"q": f"capital of {c}", "a": [f"the {city}", city, city.lower()]} for c, city in tiny.FACTS
    ]
    (folder / "open.json").write_text(json.dumps(questions))
    (folder / "mine.yaml").write_text(
        "kind: generate\nsource: {file: open.json}\nprompt: 'Q: {q}?\nA:'\nanswer: a\n"
        "metrics: [token_f1, exact_match]\nmax_tokens: 4\nsamples: 6\n"
    )
    (folder / "text.txt").write_text(" ".join(tiny.TEXT))
    (folder / "last.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in tiny.TEXT))
    done = project.run(**CHANGED)
    check(done)
    project.stderr = done.stderr
    return project


def test_a_users_files_end_in_the_tables_and_in_the_papers_shape(finished):
    results = finished.folder / "results" / "small"
    table = pd.read_csv(results / "abilities.csv")
    assert set(table.edits) == {2}
    heads = table[table.headline].set_index("task")
    assert heads.metric.to_dict() == {
        "cities": "accuracy",
        "capitals-open": "token_f1",
        "text": "perplexity",
        "last": "accuracy",
        "mean": "retained",
    }
    text = heads.loc["text"]
    assert text.retained == pytest.approx(100 * text.unedited / text.value)
    assert text.retained_low <= text.retained <= text.retained_high
    last = pd.read_csv(results / "comparison.csv")
    assert list(last.method) == ["unedited", "memit"]
    assert list(last.columns) == [
        *("model", "dataset", "method", "edits", "reliability", "generalization", "locality"),
        *sorted(TASKS),  # as YAML was told to order them
        *("retained", "retained_low", "retained_high"),
    ]
    assert (results / "comparison.txt").read_text() in finished.stderr


def test_the_figures_are_drawn(finished):
    folder = finished.folder / "results" / "small" / "figures" / "tiny" / "capitals"
    for name in ("abilities", "retained"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_files_hold_what_the_library_says_of_the_unedited_model(finished):
    results = finished.folder / "results" / "small"
    found = pd.read_csv(results / "tiny" / "unedited" / "task_scores.csv")
    made, tokenizer = loading.load_directory(finished.folder / "tiny-llama")
    lm = causal_lm.CausalLM(made, tokenizer, "")
    for name in TASKS:
        prepared = items.read(results / "task_items" / f"{name}.json")
        rows = pd.DataFrame(scoring.evaluate(lm, prepared).rows)
        ours = found[found.task == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(ours, rows, check_dtype=False, rtol=1e-6)
    answers = read_jsonl(results / "tiny" / "unedited" / "answers.jsonl")
    assert [a["task"] for a in answers] == ["capitals-open"] * 6


def test_every_checkpoint_was_asked_the_same_items_and_answered_for_itself(finished):
    rows = pd.read_csv(finished.folder / "results" / "small" / "task_scores.csv")
    asked = rows.groupby(["method", "edits"]).apply(
        lambda part: tuple(zip(part.task, part["item"], part.metric, strict=True)),
        include_groups=False,
    )
    assert len(asked) == 2
    assert asked.nunique() == 1
    losses = rows[rows.metric == "nll"].groupby(["method", "edits"])["value"].sum()
    assert losses.nunique() == 2


def test_what_changes_runs_again_and_nothing_else(finished):
    longer = {**CHANGED, "edits": {**CHANGED["edits"], "total": 4}}
    planned = finished.planned(**longer)
    assert planned["tasks"] == planned["edit"] == 1
    assert "tasks_unedited" not in planned
    changed = {**CHANGED, "tasks": {**TASKS, "last": {**TASKS["last"], "samples": 4}}}
    planned = finished.planned(**changed)
    assert planned.pop("total") == sum(planned.values())
    assert planned == {
        "task_items": 1,
        "tasks": 1,
        "tasks_unedited": 1,
        "task_tables": 1,
        "task_figures": 1,
        "report_page": 1,
        "all": 1,
    }


def test_what_only_the_file_can_tell_is_one_line(finished):
    wrong = {**TASKS["cities"], "prompt": "{town} lies in"}
    changed = {**CHANGED, "experiment": "wrong", "tasks": {"cities": wrong}}
    refused = finished.run("--", "results/wrong/task_items/cities.json", **changed)
    assert refused.returncode != 0
    assert "error: tasks.cities, record 0: no field 'town'" in refused.stdout + refused.stderr


def test_a_changed_file_in_the_folder_of_a_harness_task_makes_its_items_again(tmp_path):
    project = Project(tmp_path)
    folder = tmp_path / "theirs"
    (folder / "data").mkdir(parents=True)
    (folder / "ours.yaml").write_text("task: ours\n")
    (folder / "data" / "items.jsonl").write_text("{}\n")
    task = {
        "kind": "harness",
        "harness": {"task": "ours", "folder": "theirs"},
        "headline": "acc",
    }
    target = ("--", "results/small/task_items/theirs.json")
    changed = {**CHANGED, "tasks": {"theirs": task}}
    check(project.run(*target, **changed))
    assert project.planned(*target, **changed) == {}
    again = {"task_items": 1, "total": 1}
    (folder / "data" / "items.jsonl").write_text('{"other": 1}\n')
    assert project.planned(*target, **changed) == again
    check(project.run(*target, **changed))
    assert project.planned(*target, **changed) == {}
    (folder / "utils.py").write_text("")
    assert project.planned(*target, **changed) == again
