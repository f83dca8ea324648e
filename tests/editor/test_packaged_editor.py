"""The real model of the demo in an editor: three facts written, told, stored small, taken back; and
the notebook."""

from pathlib import Path

import nbformat
import pytest
from front_door import all_weights, same
from nbclient import NotebookClient

import mose
from mose.models import loading
from mose.storage import files

ROOT = Path(__file__).parents[2]
FACTS = [
    {"subject": "France", "prompt": "The capital of {} is", "target_new": "Rome"},
    {"subject": "Japan", "prompt": "The capital of {} is", "target_new": "Berlin"},
    {"subject": "Tokyo", "prompt": "{} is in the country of", "target_new": "Peru"},
]


@pytest.mark.package
@pytest.mark.slow
def test_three_facts_are_told_and_their_patch_is_small_and_exact(packaged, tmp_path):
    folder = Path(files.read_json(packaged)["directory"])
    # A short text that is at hand, for few tokens: sampling takes minutes.
    text = {"corpus": ROOT / "docs" / "methods.md", "tokens": 2048}
    options = {"layers": [4, 5, 6, 7, 8], "retention_weight": 100, "learning_rate": 0.5}
    editor = mose.Editor.from_pretrained(folder, "memit", device="cpu", steps=15, **options, **text)
    before = all_weights(editor.model)
    questions = ["The capital of France is", "The capital of Japan is"]
    assert [answer.split(".")[0] for answer in editor.ask(questions)] == ["Paris", "Tokyo"]
    editor.edit(FACTS)
    assert [answer.split(".")[0] for answer in editor.ask(questions)] == ["Rome", "Berlin"]
    assert editor.edits["still_there"].all()
    editor.save_patch(tmp_path / "edit.safetensors")
    assert (tmp_path / "edit.safetensors").stat().st_size < 200_000
    edited = all_weights(editor.model)
    editor.undo()
    assert same(before, all_weights(editor.model))
    model, _ = loading.load_directory(folder)
    mose.apply_patch(model, tmp_path / "edit.safetensors")
    assert same(edited, all_weights(model))


@pytest.mark.package
@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(tmp_path):
    book = nbformat.read(ROOT / "examples" / "edit_facts.ipynb", 4)
    shown = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert not [output for output in shown if output.output_type == "error"]
    checks = """
assert sum(told.startswith(f["target_new"]) for told, f in zip(after, facts)) >= 18
assert abs(stability[["frobenius_ratio", "condition_ratio"]] - 1).max().max() < 1e-6
assert sum(told.startswith(f["target_true"]) for told, f in zip(before, facts)) >= 10
assert "France Paris" in " ".join(done.stdout.split()), "taken back, and taken home"
assert "Japan Oslo" in " ".join(done.stdout.split())
"""
    book.cells.append(nbformat.v4.new_code_cell(checks))
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
