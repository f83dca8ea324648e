"""A class that is not in the table, from its model file to an edit; what cannot be edited."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import yaml
from transformers import XGLMConfig, XGLMForCausalLM

from mose.editing import sequence, targets
from mose.errors import ConfigError, ModelError
from mose.evaluation.prompt_scores import score_targets
from mose.experiment import config
from mose.linalg import second_moment
from mose.methods.register import parse_variant
from mose.models import loading, probes, sources
from mose.models.architectures import Architecture
from mose.models.opening import wrap
from mose.statistics import second_moments
from mose.storage import files

ROOT = Path(__file__).parents[2]
STABLELM = {"blocks": "model.layers", "projection": "mlp.down_proj", "norm": "model.norm"}
EXPERIMENT = {
    "experiment": "e",
    "models": ["stablelm.yaml"],
    "datasets": {"facts": {"source": "builtin"}},
    "edits": {"total": 2, "batch": 2, "checkpoint": 2},
    "methods": {
        "memit": {
            "method": "memit", "layers": [1], "lambda": 0.05, "learning_rate": 0.2, "steps": 8,
            "weight_decay": 0.0,
        },
    },
}  # fmt: skip


def read(folder, monkeypatch, **block):
    """The model of a file with this `architecture` block."""
    tiny.save(folder / "weights", "stablelm")
    spec = {"source": {"local": str(folder / "weights")}, "architecture": block}
    (folder / "stablelm.yaml").write_text(yaml.safe_dump(spec))
    monkeypatch.chdir(folder)
    return config.read_experiment(EXPERIMENT)[1]["stablelm"]


def test_from_the_model_file_to_an_edit(tmp_path, monkeypatch, requests, templates):
    model = read(tmp_path, monkeypatch, **STABLELM)
    assert model.architecture == {**STABLELM, "transposed": False}
    program = [sys.executable, ROOT / "scripts" / "prepare_model.py", "--out", "manifest.json"]
    asked = ["--source", json.dumps(model.source), "--architecture", json.dumps(model.architecture)]
    done = subprocess.run([*program, *asked], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["architecture"], manifest["layers"]) == ("StableLmForCausalLM", 4)

    lm = loading.load(tmp_path / "manifest.json", "cpu")
    before = lm.weight(1).clone()
    assert torch.equal(sources.read_weight(manifest, 1), before)
    variant = parse_variant(EXPERIMENT["methods"]["memit"])
    windows = np.random.default_rng(0).integers(1, 300, size=(60, 12)).astype(np.int32)
    sums, count = second_moments.accumulate(lm, windows, [1], False)
    moments = {1: second_moment.SecondMoment(sums[1] / count)}
    state = sequence.State(sequence.make_editors({1: before.clone()}, moments, variant))
    wanted = [(request.text, request.target_new) for request in requests[:2]]
    scores = [score.logprob for score in score_targets(lm, wanted)]
    sequence.run(lm, state, variant, requests, templates, 2, 2, lambda first, batch: None)
    assert not torch.equal(lm.weight(1), before)
    assert sum(score.logprob for score in score_targets(lm, wanted)) > sum(scores) + 0.1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"blocks": "model.blocks"}, r"architecture\.blocks: .* has no module 'model\.blocks'"),
        ({"blocks": "model.norm"}, r"architecture\.blocks: .* is a LayerNorm, expected the list"),
        ({"projection": "mlp.fc2"}, r"architecture\.projection: .* has no module 'mlp\.fc2'"),
        ({"norm": "norm"}, r"architecture\.norm: StableLmForCausalLM has no module 'norm'"),
        ({"norm": "model.layers.0.input_layernorm"}, "give other logits than the model"),
        ({"projection": "mlp.up_proj"}, "not change the block's output by the same vector"),
        ({"projection": "mlp"}, r"architecture\.projection: .* has no matrix"),
        ({"transposed": True}, r"set architecture\.transposed: false"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_which(tmp_path, changed, said):
    named = Architecture(**{**STABLELM, **changed})
    source = {"local": str(tiny.save(tmp_path / "m", "stablelm"))}
    with pytest.raises(ModelError, match=said) as caught:
        sources.obtain(source, tmp_path / "w", named)
    assert "\n" not in str(caught.value)


def test_a_square_matrix_the_wrong_way_round_is_told_from_the_right_one(tmp_path):
    folder = tiny.save(tmp_path / "m", "square")
    right = tiny.NAMED["square"]
    wrong = dataclasses.replace(right, transposed=True)
    with pytest.raises(ModelError, match=r"is not its matrix times the key.*transposed: false"):
        sources.describe(folder, wrong)
    assert sources.describe(folder, right)["d_in"] == 32


@pytest.mark.parametrize("kind", ["olmo2", "gemma3", "granite"])
def test_a_norm_or_a_factor_that_is_not_named_is_refused(tmp_path, kind):
    """OLMo 2 and Gemma 3 normalise the MLP's output, Granite scales it."""
    source = {"local": str(tiny.save(tmp_path / "m", kind))}
    plain = Architecture("model.layers", "mlp.down_proj", "model.norm")
    with pytest.raises(ModelError, match=r"a norm or a factor is in between.*\.post_norm"):
        sources.obtain(source, tmp_path / "w", plain)


def test_a_norm_that_is_named_is_used_and_a_wrong_one_refused(tmp_path):
    folder = tiny.save(tmp_path / "m", "olmo2")
    plain = Architecture("model.layers", "mlp.down_proj", "model.norm")
    named = dataclasses.replace(plain, post_norm="post_feedforward_layernorm")
    manifest = sources.describe(folder, named)
    files.write_json(tmp_path / "manifest.json", manifest)
    lm = loading.load(tmp_path / "manifest.json", "cpu")
    assert lm.post_norm(1) is lm.blocks[1].post_feedforward_layernorm
    wrong = dataclasses.replace(plain, post_norm="post_attention_layernorm")
    with pytest.raises(ModelError, match="behind 'post_attention_layernorm'"):
        sources.describe(folder, wrong)
    absent = dataclasses.replace(plain, post_norm="mlp_norm")
    with pytest.raises(ModelError, match=r"architecture\.post_norm: .* has no module 'mlp_norm'"):
        sources.describe(folder, absent)


def test_a_layer_norm_behind_the_projection_is_refused():
    lm = tiny.model("olmo2")
    for block in lm.blocks:
        block.post_feedforward_layernorm = torch.nn.LayerNorm(32)
        torch.nn.init.normal_(block.post_feedforward_layernorm.bias)
    with pytest.raises(ModelError, match="is no RMS norm"):
        probes.check_editable(lm, "tiny")


@pytest.mark.parametrize(
    "block", [{"blocks": "a"}, {**STABLELM, "head": "x"}, {**STABLELM, "norm": ""}]
)
def test_a_malformed_block_is_refused_with_its_key(tmp_path, monkeypatch, block):
    with pytest.raises(ConfigError, match=r"stablelm\.yaml: architecture"):
        read(tmp_path, monkeypatch, **block)


def test_attention_that_a_class_computes_by_itself_is_refused_where_targets_are_sought(
    requests, templates
):
    """Its rows would see each other in a packed pass, and not their prefixes."""
    sizes = {"vocab_size": 400, "d_model": 32, "ffn_dim": 48, "max_position_embeddings": 128}
    made = XGLMForCausalLM(XGLMConfig(**sizes, num_layers=3, attention_heads=4)).eval()
    names = Architecture(blocks="model.layers", projection="fc2", norm="model.layer_norm")
    lm = wrap(made, tiny.tokenizer(), names)
    options = parse_variant({"method": "rome", "layers": [1], "learning_rate": 0.1}, "m").edit
    with pytest.raises(ModelError, match=r"XGLM.*AttentionInterface, found it in 0 of 3 blocks"):
        targets.optimise(lm, requests[:2], templates, options)
