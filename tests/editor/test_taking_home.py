"""What is exported is what was measured: directories, patches and adapters of edited models."""

import json
import re
import subprocess
import sys

import pytest
import tiny
import torch
from front_door import FACTS, all_weights, editor_of, logits, options_of, refused, same
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mose
from mose.editing import export, patches
from mose.errors import ConfigError, MoseError, StoreError
from mose.models import loading

ALONE = """
import sys
sys.modules["mose"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(int(sys.argv[1]))
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    ids = AutoTokenizer.from_pretrained(folder)("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        torch.save(model(**ids).logits, f"{folder}.pt")
"""


@pytest.fixture(scope="module")
def edited():
    """An editor of MEMIT, three facts; tests only read it."""
    editor = editor_of("memit")
    editor.edit(FACTS[:3])
    editor.evaluate()
    return editor


@pytest.fixture(scope="module")
def patch(edited, tmp_path_factory):
    path = tmp_path_factory.mktemp("patch") / "edit.safetensors"
    edited.save_patch(path)
    return path


def test_a_saved_directory_needs_transformers_alone(tmp_path):
    """In two number formats, of PRUNE: what is measured is not what the next edit starts from."""
    editors = {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        lm = tiny.model()
        lm.model.to(dtype).save_pretrained(tmp_path / f"base-{name}")
        lm.tokenizer.save_pretrained(tmp_path / f"base-{name}")
        options = {**options_of("prune", log_base=1.1), "device": "cpu"}
        editor = mose.Editor.from_pretrained(tmp_path / f"base-{name}", **options)
        editor.edit(FACTS[:2])
        editor.save_pretrained(tmp_path / name)
        stored = load_file(tmp_path / name / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {dtype}
        assert (tmp_path / name / "generation_config.json").is_file()
        editors[tmp_path / name] = editor
    # Sums depend on the number of threads.
    arguments = [str(torch.get_num_threads()), *editors]
    subprocess.run([sys.executable, "-c", ALONE, *arguments], check=True, capture_output=True)
    for folder, editor in editors.items():
        assert torch.equal(torch.load(f"{folder}.pt"), logits(editor.model))
    assert not list(tmp_path.glob(".*.tmp"))
    # Who may read a new file here may read all of these.
    new = tmp_path / "new"
    new.touch()
    modes = {file.stat().st_mode for folder in editors for file in folder.iterdir()}
    assert modes == {new.stat().st_mode}


def test_a_directory_has_the_number_format_of_the_model_s_files(tmp_path):
    lm = tiny.model()
    lm.model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    lm.tokenizer.save_pretrained(tmp_path / "base")
    options = {**options_of("memit"), "device": "cpu", "dtype": "float32"}
    editor = mose.Editor.from_pretrained(tmp_path / "base", **options)
    editor.edit(FACTS[:2])
    editor.save_pretrained(tmp_path / "edited")
    model, _ = loading.load_directory(tmp_path / "edited", None)
    assert (model.dtype, editor.model.dtype) == (torch.bfloat16, torch.float32)
    rounded = {name: tensor.bfloat16() for name, tensor in all_weights(editor.model).items()}
    assert same(rounded, all_weights(model))


def test_a_saved_directory_says_what_it_is(edited, tmp_path):
    edited.save_pretrained(tmp_path / "edited")
    record = json.loads((tmp_path / "edited" / export.RECORD).read_text())
    assert [fact["target_new"] for fact in record["facts"]] == [f["target_new"] for f in FACTS[:3]]
    assert record["base"]["fingerprint"] == edited.session.lm.fingerprint
    assert record["method"]["lambda"] == 0.05
    assert {row["metric"] for row in record["metrics"]} >= {"reliability"}
    model, _ = loading.load_directory(tmp_path / "edited")
    weights = {name: dict(model.named_parameters())[name] for name in record["matrices"]}
    assert patches.digest_of_weights(weights) == record["digest"]
    card = (tmp_path / "edited" / "README.md").read_text()
    for words in (record["digest"], record["base"]["fingerprint"], "France", "reliability"):
        assert words in card


def test_texts_of_facts_are_no_markup_of_the_model_card(tmp_path):
    editor = editor_of("ft")
    editor.edit([{**FACTS[0], "subject": "a | b\n<script>[x](y)"}])
    editor.save_pretrained(tmp_path / "edited")
    (row,) = [
        line
        for line in (tmp_path / "edited" / "README.md").read_text().splitlines()
        if "script" in line
    ]
    assert row.startswith("| a \\| b &lt;script>\\[x\\](y) | ")


@pytest.mark.parametrize(("kind", "dtype"), [("gpt2", torch.float32), ("llama", torch.bfloat16)])
def test_patches_of_other_models_and_number_formats_are_exact(kind, dtype, tmp_path):
    """GPT-2 stores its matrices as (d_in, d_out)."""

    def fresh():
        lm = tiny.model(kind)
        return lm.model.to(dtype), lm.tokenizer

    editor = mose.Editor(*fresh(), **options_of("memit"))
    editor.edit(FACTS[:3])
    editor.save_patch(tmp_path / "edit.safetensors")
    other = fresh()[0]
    mose.apply_patch(other, tmp_path / "edit.safetensors")
    assert same(all_weights(editor.model), all_weights(other))


def test_patches_are_applied_one_on_another_and_removed_in_turn(patch, tmp_path):
    model = tiny.model().model
    start = all_weights(model)
    mose.apply_patch(model, patch)
    first = all_weights(model)
    second = mose.Editor(model, tiny.tokenizer(), **options_of("ft"))
    second.edit(FACTS[3:5])
    second.save_patch(tmp_path / "second.safetensors")
    second.undo()
    mose.apply_patch(model, tmp_path / "second.safetensors")
    with pytest.raises(StoreError, match="is not in this model"):
        mose.remove_patch(model, patch)
    mose.remove_patch(model, tmp_path / "second.safetensors")
    assert same(first, all_weights(model))
    mose.remove_patch(model, patch)
    assert same(start, all_weights(model))


def test_a_patch_says_what_it_is_and_is_of_the_rank_of_its_edits(edited, patch):
    read = patches.read_patch(patch)
    assert [fact["subject"] for fact in read.facts] == ["France", "Italy", "Germany"]
    assert read.method["method"] == "memit"
    assert read.base["fingerprint"] == edited.session.lm.fingerprint
    # Two batches of two facts: at most as many directions as facts.
    assert {(one["form"], one["rank"] <= 3) for one in read.tensors.values()} == {
        ("low rank", True)
    }


def other_model():
    return tiny.model(seed=1).model


def half():
    return tiny.model().model.bfloat16()


def applied(patch):
    model = tiny.model().model
    mose.apply_patch(model, patch)
    return model


def damaged(patch, folder):
    """The patch with one number of a factor changed."""
    with safe_open(patch, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(patch)
    name = next(name for name in tensors if name.endswith(".left"))
    tensors[name][0, 0] += 1 << 24
    save_file(tensors, folder / "damaged.safetensors", metadata)
    return folder / "damaged.safetensors"


REFUSED = {
    "another base": (
        lambda p, _: mose.apply_patch(other_model(), p), ["made for LlamaForCausalLM", "another"],
    ),
    "another architecture": (
        lambda p, _: mose.apply_patch(tiny.model("gpt2").model, p), ["has no model.layers.1"],
    ),
    "another number format": (
        lambda p, _: mose.apply_patch(half(), p), ["in float32", "in bfloat16", "dtype='float32'"],
    ),
    "a second time": (lambda p, _: mose.apply_patch(applied(p), p), ["already"]),
    "what is not there": (
        lambda p, _: mose.remove_patch(tiny.model().model, p), ["is not in this model"],
    ),
    "what another process applied": (
        lambda p, edited: mose.remove_patch(edited.model, p), ["not applied to this model", "load"],
    ),
    "no file": (
        lambda p, _: mose.apply_patch(tiny.model().model, "gone.safetensors"), ["no such file"],
    ),
    "no patch": (
        lambda p, _: mose.apply_patch(tiny.model().model, __file__), ["not a patch"],
    ),
    "a damaged patch": (
        lambda p, _: mose.apply_patch(tiny.model().model, damaged(p, p.parent)), ["damaged"],
    ),
    "a name for a model": (
        lambda p, _: mose.apply_patch("smollm2-135m", p), ["found str", "loaded model"],
    ),
    "nothing edited": (
        lambda p, _: editor_of("memit").save_patch("x"), ["nothing is edited yet"],
    ),
    "a folder in use": (lambda p, e: e.save_pretrained(p.parent), ["is there already", "new"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_by_name(name, patch, edited):
    call, said = REFUSED[name]
    refused(MoseError, said, call, patch, edited)


# peft asks transformers for an attribute that is to go.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_peft_loads_an_adapter_of_the_same_change(kind, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install 'mose[dev]'")
    lm = tiny.model(kind)
    editor = mose.Editor(lm.model, lm.tokenizer, **options_of("memit"))
    editor.edit(FACTS[:3])
    editor.save_adapter(tmp_path / "adapter")
    adapted = peft.PeftModel.from_pretrained(tiny.model(kind).model, tmp_path / "adapter")
    assert not torch.allclose(logits(tiny.model(kind).model), logits(editor.model), atol=1e-3)
    assert torch.allclose(logits(adapted), logits(editor.model), atol=1e-4)


def test_an_adapter_of_another_kind_of_change_is_refused(tmp_path):
    editor = editor_of("rect")
    editor.edit(FACTS[:3])
    said = r"layer 1: its change is not of low rank: to rounding it has rank (\d+) of 32, "
    with pytest.raises(ConfigError, match=rf"{said}whose factors hold .* save_patch") as refusal:
        editor.save_adapter(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    change = editor.session.weights[1] - editor.session.base[1]
    rank = int(re.search(said, str(refusal.value))[1])
    assert rank == torch.linalg.matrix_rank(change)


def test_an_adapter_is_judged_by_its_rank_and_not_by_the_size_of_a_patch(tmp_path):
    """In bfloat16 a patch stores differences where factors in float32 would take more bytes."""
    lm = tiny.model()
    editor = mose.Editor(lm.model.bfloat16(), lm.tokenizer, **{**options_of("memit"), "batch": 6})
    editor.edit(FACTS)
    editor.save_patch(tmp_path / "edit.safetensors")
    stated = patches.read_patch(tmp_path / "edit.safetensors").tensors.values()
    assert "differences" in {one["form"] for one in stated}
    editor.save_adapter(tmp_path / "adapter")
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    rank = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"]
    assert rank <= len(FACTS)
    for layer, weight in editor.session.weights.items():
        down, up = (tensor.double() for name, tensor in stored.items() if f".{layer}." in name)
        base = editor.session.base[layer].double()
        missed = torch.linalg.matrix_norm(base + up @ down - weight.double())
        change = torch.linalg.matrix_norm(weight.double() - base)
        assert missed < 2**-9 * torch.linalg.matrix_norm(weight.double())
        assert missed < 0.1 * change
