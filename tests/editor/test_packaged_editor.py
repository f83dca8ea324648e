"""The real model of the demo in an editor: three facts written, told, stored small, taken back."""

from pathlib import Path

import pytest
from front_door import all_weights, same

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
