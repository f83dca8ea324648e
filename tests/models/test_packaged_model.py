"""The real model of the demo: fetched from the package index, converted, and edited once."""

from pathlib import Path

import pytest
import torch

from mose.editing import sequence, writing
from mose.errors import ModelError
from mose.evaluation import prompt_scores
from mose.facts.requests import EditRequest
from mose.linalg import second_moment
from mose.methods.register import parse_variant
from mose.models import loading, sources
from mose.statistics import second_moments
from mose.storage import files, yaml_files

ROOT = Path(__file__).parents[2]
SOURCE = yaml_files.read_yaml(ROOT / "config" / "models" / "smollm2-135m.yaml")["source"]

pytestmark = pytest.mark.package


def test_the_manifest_says_what_the_model_is(packaged):
    made = files.read_json(packaged)
    assert made["architecture"] == "LlamaForCausalLM"
    assert (made["layers"], made["d_out"], made["d_in"]) == (30, 576, 1536)
    assert made["parameters"] == 134_515_008


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "prompt", "known"),
    [
        ("gemma3-270m", "The currency of Japan is called the", " yen"),
        ("qwen2.5-coder-0.5b", "The capital of France is", " Paris"),
    ],
)
def test_a_model_of_several_wheels_is_what_its_file_says(name, prompt, known, tmp_path):
    spec = yaml_files.read_yaml(ROOT / "config" / "models" / f"{name}.yaml")
    made = sources.obtain(spec["source"], tmp_path / "weights")
    shape = spec["shape"]
    found = (made["parameters"], made["layers"], made["d_out"], made["d_in"], made["vocabulary"])
    assert found == tuple(
        shape[key] for key in ("parameters", "blocks", "width", "mlp_width", "vocabulary")
    )
    files.write_json(tmp_path / "manifest.json", made)
    lm = loading.load(tmp_path / "manifest.json", "cpu")
    (answer,) = prompt_scores.generate(lm, [prompt], tokens=3)
    assert answer.startswith(known)


def test_another_file_under_the_same_name_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"has sha256 bcc81830.*, the config expects 000"):
        sources.obtain({**SOURCE, "sha256": "0" * 64}, tmp_path)


def test_it_knows_that_paris_is_the_capital_until_told_otherwise(packaged):
    """One batch of two facts by an input rotation: written, and norm and spectrum untouched."""
    lm = loading.load(packaged, "cpu")
    requests = [
        EditRequest("1", "France", "The capital of {} is", "Rome", "Paris"),
        EditRequest("2", "Tokyo", "The city of {} is located in the country of", "Peru", "Japan"),
    ]

    def reliable(of):
        pairs = [(request.text, getattr(request, of)) for request in requests]
        return [score.right == score.tokens for score in prompt_scores.score_targets(lm, pairs)]

    assert reliable("target_true") == [True, True]
    variant = parse_variant(
        {
            "method": "mose", "side": "input", "targets": "reachable", "memory": "accumulate",
            "layers": [6], "lambda": 30, "learning_rate": 0.1, "steps": 15,
        }
    )  # fmt: skip
    # Real keys, of text that is at hand: few tokens, so that the identity fills what they miss.
    text = (ROOT / "docs" / "design.md").read_text() + (ROOT / "docs" / "methods.md").read_text()
    ids = torch.tensor(lm.tokenizer(text)["input_ids"])
    windows = ids[: len(ids) // 64 * 64].view(-1, 64).numpy()
    sums, count = second_moments.accumulate(lm, windows, [6], False)
    moment = sums[6] / count
    moment += 1e-2 * moment.diagonal().mean() * torch.eye(1536, dtype=torch.float64)
    before = lm.weight(6).clone()
    editors = sequence.make_editors(
        {6: lm.weight(6)}, {6: second_moment.SecondMoment(moment)}, variant
    )
    found = writing.write_batch(lm, editors, variant, requests, ["{}", "It is true. {}"])
    assert reliable("target_new") == [True, True]
    assert all(outcome.attained > 0.5 for outcome in found)
    after = torch.linalg.svdvals(lm.weight(6).double())
    assert torch.allclose(after, torch.linalg.svdvals(before.double()), rtol=1e-6)
    assert torch.allclose(editors[6].undo().float(), before, rtol=1e-6, atol=1e-6)
