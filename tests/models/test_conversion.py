"""A GGUF file as safetensors: the numbers it holds, read once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import yaml
from experiments import changed
from safetensors.torch import load_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mose.errors import ConfigError
from mose.experiment import config
from mose.experiment.plan import Plan
from mose.models import sources

ROOT = Path(__file__).parents[2]

WIDTH, MLP, HEADS, BLOCKS = 16, 32, 2, 2


def permuted(weight):
    """Rows of a query's or key's weight in the order of llama.cpp: halves of a head interleaved."""
    halves = weight.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH)
    return halves.swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture
def written(tmp_path):
    """A small Llama as a GGUF file, and its weights by transformers' names."""
    tokens = [*bytes_to_unicode().values(), "ab", "<|end|>"]
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(MLP)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    shapes = {
        "attn_q": ("self_attn.q_proj", (WIDTH, WIDTH)),
        "attn_k": ("self_attn.k_proj", (WIDTH, WIDTH)),
        "attn_v": ("self_attn.v_proj", (WIDTH, WIDTH)),
        "attn_output": ("self_attn.o_proj", (WIDTH, WIDTH)),
        "ffn_gate": ("mlp.gate_proj", (MLP, WIDTH)),
        "ffn_up": ("mlp.up_proj", (MLP, WIDTH)),
        "ffn_down": ("mlp.down_proj", (WIDTH, MLP)),
        "attn_norm": ("input_layernorm", (WIDTH,)),
        "ffn_norm": ("post_attention_layernorm", (WIDTH,)),
    }
    names = {"token_embd": ("model.embed_tokens", (len(tokens), WIDTH))}
    names["output_norm"] = ("model.norm", (WIDTH,))
    for block in range(BLOCKS):
        for own, (name, shape) in shapes.items():
            names[f"blk.{block}.{own}"] = (f"model.layers.{block}.{name}", shape)
    weights = {}
    for own, (name, shape) in names.items():
        weight = random.standard_normal(shape).astype(np.float32)
        weights[f"{name}.weight"] = weight
        turned = own.endswith(("attn_q", "attn_k"))
        writer.add_tensor(f"{own}.weight", permuted(weight) if turned else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "model.gguf", weights


def test_the_weights_of_a_file_come_out_as_written(written, tmp_path):
    path, weights = written
    converted = load_file(sources.convert_gguf(path, tmp_path / "out") / "model.safetensors")
    assert converted.keys() == weights.keys()
    for name, weight in weights.items():
        np.testing.assert_array_equal(converted[name].numpy(), weight, err_msg=name)


def test_a_conversion_reads_the_metadata_once(written, tmp_path, monkeypatch):
    path, _ = written
    opened = []

    class Reader(gguf.GGUFReader):
        def __init__(self, name, *rest):
            opened.append(str(name))
            super().__init__(name, *rest)

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    names = gguf.get_tensor_name_map
    sources.convert_gguf(path, tmp_path / "out")
    assert opened == [str(path)]
    assert gguf.GGUFReader is Reader
    assert gguf.get_tensor_name_map is names


def test_a_file_that_replaces_the_one_converted_is_refused(written, tmp_path, monkeypatch):
    path, _ = written
    monkeypatch.chdir(tmp_path)
    source = {"local": path.name}
    manifest = Path("results/models/mine/manifest.json")
    program = [sys.executable, str(ROOT / "scripts/prepare_model.py")]
    subprocess.run([*program, "--source", json.dumps(source), "--out", str(manifest)], check=True)
    Path("mine.yaml").write_text(yaml.safe_dump({"source": source}))
    made = changed("methods", {"a": {"method": "ft", "layers": [1]}})
    plan = Plan(*config.read_experiment({**made, "models": ["mine.yaml"]}))
    plan.check()
    os.utime(path, (0, 0))
    plan.check()  # of another time, with the same content

    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    message = "mine.yaml: source.local: model.gguf is another file than the one that"
    with pytest.raises(ConfigError, match=message):
        plan.check()
    path.write_bytes(content + b"0")
    with pytest.raises(ConfigError, match=message):
        plan.check()
    path.unlink()  # what was made of it stays usable without it
    plan.check()
    path.write_bytes(content + b"0")
    manifest.unlink()
    plan.check()  # the one that is there is to be converted
