"""The target `export`: directories that transformers alone loads, of the models measured."""

import json

import h5py
import pandas as pd
import pytest
import torch
from project import METHODS, check
from transformers import AutoModelForCausalLM, AutoTokenizer

RUN = "results/small/tiny/capitals"


@pytest.fixture(scope="module")
def project(whole, tmp_path_factory):
    copied = whole.copy(tmp_path_factory.mktemp("export"))
    done = copied.run("--", "export")
    check(done)
    return copied


@pytest.mark.parametrize(("method", "layers"), [("memit", (1, 2)), ("mose-input", (1,))])
def test_the_directory_is_the_model_that_was_measured(project, method, layers):
    folder = project.folder / RUN / method / "seed0" / "exported4"
    edited = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(project.folder / "tiny-llama").state_dict()
    moved = {name for name, w in edited.state_dict().items() if not torch.equal(w, base[name])}
    assert moved == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in layers}
    # Perplexity of the held-out text, window by window, as it was measured at the checkpoint.
    measured = pd.read_csv(project.folder / RUN / method / "seed0" / "perplexity4.csv")
    (heldout,) = (project.folder / "results/models/tiny/corpus").glob("*/heldout.h5")
    with h5py.File(heldout) as file:
        windows = torch.from_numpy(file["ids"][:]).long()
    with torch.no_grad():
        loss = edited(windows, labels=windows).loss
    assert loss.exp().item() == pytest.approx(measured.perplexity.item(), rel=1e-4)


def test_it_says_what_it_is(project):
    folder = project.folder / RUN / "memit" / "seed0" / "exported4"
    record = json.loads((folder / "mose.json").read_text())
    lines = (project.folder / RUN / "seed0" / "requests.jsonl").read_text().splitlines()[:4]
    asked = [json.loads(line)["target_new"] for line in lines]
    assert [fact["target_new"] for fact in record["facts"]] == asked
    assert record["base"]["name"] == "tiny"
    assert record["settings"] == "methods.memit of small"
    card = (folder / "README.md").read_text()
    assert all(target in card for target in asked)
    assert AutoTokenizer.from_pretrained(folder)("The capital of Peru is").input_ids


def test_another_checkpoint_is_made_by_its_name(project):
    name = f"{RUN}/memit/seed0/exported2"
    assert project.planned("--", "export") == {}
    assert project.planned("--", name) == {"exported": 1, "total": 1}


def test_a_row_that_changes_no_weights_is_left_out(project):
    shown = {"method": "in-context", "layers": [1]}
    assert project.planned("--", "export", methods={**METHODS, "shown": shown}) == {}
    more = {**METHODS, "more": {**METHODS["memit"], "lambda": 0.2}}
    assert project.planned("--", "export", methods=more)["exported"] == 1
