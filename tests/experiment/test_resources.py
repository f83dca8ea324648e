"""What jobs need, against what they take: shapes, peaks of real programs, refusals."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    Qwen2Config,
)

from mose.errors import ConfigError, ResourceError
from mose.experiment import capacity, config, plan, resources, stages
from mose.experiment.resources import Machine, Shape, Work
from mose.methods.register import parse_variant
from mose.models import sources
from mose.storage import files, yaml_files

ROOT = Path(__file__).parents[2]
SMOLLM2 = Shape(134_515_008, 30, 576, 1536, 49_152)
LLAMA3 = Shape(8_030_261_248, 32, 4096, 14_336, 128_256, "bfloat16")
MEMIT = {
    "method": "memit", "layers": [4, 5, 6, 7, 8], "lambda": 100, "learning_rate": 0.5, "steps": 3,
}  # fmt: skip
MOSE = {**MEMIT, "method": "mose"}

# The published configurations, as far as the shape depends on them.
ARCHITECTURES = {
    "llama3-8b": LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=False,
    ),
    "llama2-13b": LlamaConfig(
        hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
        num_key_value_heads=40, vocab_size=32000, tie_word_embeddings=False,
    ),
    "qwen2.5-7b": Qwen2Config(
        hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, vocab_size=152064, tie_word_embeddings=False,
    ),
    "smollm2-135m": LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True,
    ),
    "qwen2.5-coder-0.5b": Qwen2Config(  # its file has a head of its own
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=False,
    ),
    "gemma3-270m": Gemma3TextConfig(
        hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
        num_key_value_heads=1, head_dim=256, vocab_size=262144,
    ),
    "gpt2-xl": GPT2Config(n_embd=1600, n_layer=48, n_head=25),
    "gpt-j-6b": GPTJConfig(),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config/models").iterdir()))
def test_the_shapes_in_the_model_files_are_those_of_the_architectures(name):
    stated = yaml_files.read_yaml(ROOT / "config" / "models" / f"{name}.yaml")["shape"]
    architecture = ARCHITECTURES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    assert stated["parameters"] == sum(p.numel() for p in model.parameters())
    assert stated["blocks"] == architecture.num_hidden_layers
    assert stated["width"] == architecture.hidden_size
    assert stated["vocabulary"] == architecture.vocab_size
    inner = getattr(architecture, "intermediate_size", None) or 4 * architecture.hidden_size
    assert stated["mlp_width"] == inner


def test_a_directory_tells_the_shape_that_the_model_then_has(tmp_path):
    folder = tiny.save(tmp_path / "m")
    manifest = sources.describe(folder)
    found, made = Shape.of_directory(folder), Shape.of_manifest(manifest)
    assert (found.blocks, found.width, found.mlp_width) == (made.blocks, made.width, made.mlp_width)
    assert found.vocabulary == made.vocabulary
    # The file's header counts too.
    assert 1 <= found.parameters / made.parameters < 1.2
    assert Shape.of_directory(tmp_path) is None


def test_more_threads_have_larger_passes_and_no_more_memory_than_two():
    def edit(threads):
        work = Work(variant=parse_variant(MEMIT, "m"), requests=100, batch=100)
        return stages.needs("edit", SMOLLM2, Machine(threads=threads), work).host

    one, two, many = (edit(threads) for threads in (1, 2, 16))
    # 256 tokens more in the 21 blocks above layer 8, float32.
    assert two - one == 4 * 256 * 21 * (20 * 576 + 4 * 1536)
    assert many == two


def test_memory_of_large_models_is_what_one_counts_by_hand():
    gpu = Machine(gpu=True, dtype="bfloat16", threads=16, solve_on="host")
    memit = parse_variant(MEMIT, "m")
    edit = stages.needs("edit", LLAMA3, gpu, Work(variant=memit, requests=100, batch=100))
    # Weights in two bytes, and activations of 2048 tokens in the 23 blocks above layer 8.
    activations = 2 * 2048 * 23 * (20 * 4096 + 4 * 14336)
    assert edit.device == pytest.approx(16.06e9 + activations, rel=1e-3)
    # However small the batch: targets may be long.
    single = stages.needs("edit", LLAMA3, gpu, Work(variant=memit, requests=100, batch=1))
    assert single.device == edit.device
    # The host holds five second moments and their factors, float64.
    assert edit.host > 16.06e9 + 5 * 16 * 14336**2
    # On the GPU they are there, with W and the update; one second moment passes through the host.
    there = replace(gpu, solve_on="model")
    solved = stages.needs("edit", LLAMA3, there, Work(variant=memit, requests=100, batch=100))
    held = 5 * (16 * 14336**2 + 8 * 4096 * 14336)
    assert solved.device - edit.device == held
    assert edit.host - solved.host == held - 8 * 14336**2
    assert solved.seconds < edit.seconds
    assert edit.disk == 5 * 4 * 4096 * 14336
    rotation = stages.needs(
        "edit", LLAMA3, gpu, Work(variant=parse_variant(MOSE, "m"), requests=100)
    )
    assert rotation.disk == 5 * 8 * 4096**2
    assert rotation.host < edit.host
    # The weight in float32, and the scatter matrix of the gradients in float64.
    whitened = parse_variant({"method": "stableedit", "layers": [28, 29]}, "m")
    written = stages.needs("edit", LLAMA3, gpu, Work(variant=whitened, requests=100))
    assert written.disk == 2 * (4 * 4096 * 14336 + 8 * 4096**2)
    moments = stages.needs("second_moments", LLAMA3, gpu, Work(layers=range(4, 9), tokens=10**5))
    assert moments.disk == 5 * 4 * 14336**2


def test_more_edits_take_longer_and_no_more_memory():
    def edit(count):
        work = Work(variant=parse_variant(MEMIT, "m"), requests=count, batch=10, prompts=6)
        return stages.needs("edit", SMOLLM2, Machine(), work)

    assert edit(1000).host == edit(10).host
    assert edit(1000).seconds > 50 * edit(10).seconds - 60
    assert edit(10).runtime(attempt=2) > edit(10).runtime()
    assert edit(10).mem_mb(attempt=2) == pytest.approx(2 * edit(10).mem_mb(), abs=1)


def peak(command):
    """Peak resident bytes of a program that succeeds."""
    run = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    most = 0
    while run.poll() is None:
        try:
            status = Path(f"/proc/{run.pid}/status").read_text()
            most = max(most, int(status.split("VmHWM:")[1].split()[0]) * 1024)
        except (OSError, IndexError):
            pass  # it ended between two looks
        time.sleep(0.05)
    assert run.returncode == 0, run.stderr.read()
    run.stderr.close()
    return most


@pytest.fixture(scope="module")
def real_chain(packaged, tmp_path_factory):
    """The folder of the files that a chain of edits of SmolLM2 is made from."""
    folder = tmp_path_factory.mktemp("chain")
    facts, requests = folder / "facts.jsonl", folder / "requests.jsonl"
    programs = [
        ["read_facts.py", "--model", packaged, "--source", "builtin", "--conflicts", "all",
         "--out", facts, "--report", folder / "facts.json"],
        ["make_requests.py", "--facts", facts, "--seed", 0, "--neighbours", 3, "--held-out", 0.2,
         "--part", "evaluation", "--out", requests],
        ["make_corpus.py", "--model", packaged, "--part", "windows0", "--out", folder / "w.h5",
         "--options", json.dumps({"source": {"file": str(ROOT / "docs" / "methods.md")},
                                  "tokens": 2048, "heldout": 256, "window": 128, "shards": 1})],
    ]  # fmt: skip
    for program, *options in programs:
        peak([f"scripts/{program}", *map(str, options)])
    (folder / "templates.json").write_text(
        json.dumps(["{}", *(f"{w} I said so. {{}}" for w in "ABCDE")])
    )
    return folder


@pytest.mark.slow
@pytest.mark.package
def test_the_estimates_are_within_a_fifth_of_what_programs_take(packaged, real_chain):
    folder, model = real_chain, ["--model", str(packaged)]
    moments = ["scripts/second_moments.py", *model, "--windows", str(folder / "w.h5"), "--layers",
               "4-8", "--out", str(folder / "moments.h5")]  # fmt: skip
    found = {"second_moments": (peak(moments), Work(layers=range(4, 9)))}
    for name, options in {"memit": MEMIT, "mose": MOSE}.items():
        variant = parse_variant(options, name)
        # Second moments of few tokens are singular; what they weigh changes no memory.
        chain = [
            *model, "--variant", json.dumps(options), "--seed", "0", "--batch", "8",
            "--moments", str(folder / "moments.h5"), "--templates", str(folder / "templates.json"),
            "--requests", str(folder / "requests.jsonl"),
        ]  # fmt: skip
        if name == "memit":
            chain[3] = json.dumps({**options, "second_moment": "identity"})
        checkpoint = str(folder / f"{name}.h5")
        edit = ["--last", "8", "--out", checkpoint, "--immediate", str(folder / "i.csv")]
        found[f"edit {name}"] = (
            peak(["scripts/edit.py", *chain, *edit]),
            Work(variant=variant, requests=8, batch=8, prompts=6),
        )
        measure = ["--checkpoint", checkpoint, "--last", "8", "--scores", str(folder / "s.csv")]
        found[f"measure {name}"] = (
            peak(["scripts/measure.py", *chain, *measure]),
            Work(variant=variant, requests=8, prompts=6),
        )
    for name, (taken, work) in found.items():
        said = stages.needs(name.split()[0], SMOLLM2, Machine(), work).host
        assert said == pytest.approx(taken, rel=0.2), name


def fake_manifest(folder, **changed):
    shape = {"parameters": 70 * 10**9, "layers": 80, "d_out": 8192, "d_in": 28_672,
             "vocabulary": 32_000, "directory": str(folder), "fingerprint": "0"}  # fmt: skip
    path = folder / "manifest.json"
    files.write_json(path, {**shape, **changed})
    return path


def test_a_job_that_cannot_fit_is_refused_in_the_first_second_with_the_numbers(tmp_path):
    manifest = fake_manifest(tmp_path)
    command = [
        sys.executable, "scripts/edit.py", "--model", str(manifest), "--variant", json.dumps(MEMIT),
        "--moments", "m", "--requests", "r", "--templates", "t", "--seed", "0", "--batch", "1",
        "--last", "1", "--out", str(tmp_path / "o.h5"), "--immediate", str(tmp_path / "i.csv"),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 1
    line = run.stderr.strip()
    assert line.startswith("error: edit needs about ")
    assert "the model's weights are 280.0 GB as float32" in line
    assert "GB are free here" in line
    assert "\n" not in line
    # Seconds of the processor: other work may share the machine.
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert spent < 1, f"{spent:.2f} s"


def test_limits_of_a_job_count_too(monkeypatch):
    free = capacity.available_memory()
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert capacity.available_memory() == 100e6 < free


def test_files_that_have_no_room_are_refused_by_folder(tmp_path):
    with pytest.raises(ResourceError, match=rf"leaves about [\d,.]+ GB in {tmp_path} and"):
        capacity.check_disk("edit", resources.Needs(0, disk=1e18), tmp_path / "new" / "edits1.h5")
    capacity.check_disk("edit", resources.Needs(0, disk=1), tmp_path / "new" / "edits1.h5")


def planned(name, **changed):
    filled, models = config.read_experiment(
        {**yaml_files.read_yaml(ROOT / "config" / name), **changed}
    )
    return plan.Plan(filled, models)


def test_an_overview_adds_up_the_jobs_that_it_is_given(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    made = planned("paper.yaml")
    monkeypatch.chdir(tmp_path)  # without results of earlier runs
    at = {"model": "llama3-8b", "dataset": "zsre", "method": "alphaedit", "seed": "0", "n": "20"}
    null_space = {"model": "llama3-8b", "method": "alphaedit", "experiment": "paper"}
    jobs = [("edit", at), ("measure", at), ("null_space", null_space), ("tables", {}), ("all", {})]
    said = made.overview(iter(jobs)).splitlines()
    costs = [made.needs(stage, wildcards) for stage, wildcards in jobs[:3]]
    largest = max(range(3), key=lambda i: costs[i].host)
    hours = sum(cost.seconds for cost in costs) / 3600
    assert said[1] == (
        f"  llama3-8b: 3 jobs, {hours:,.1f} hours one after another; "
        f"memory {costs[largest].host / 1e9:,.1f} GB ({jobs[largest][0]}), "
        f"{max(c.device for c in costs) / 1e9:,.1f} GB of a GPU (edit); "
        f"disk {sum(c.disk for c in costs) / 1e9:,.1f} GB"
    )
    assert said[2:] == ["  llama2-13b: nothing", "  qwen2.5-7b: nothing"]
    # Later checkpoints are scored for longer: all requests so far.
    assert made.needs("measure", {**at, "n": "400"}).seconds > made.needs("measure", at).seconds


def test_the_terms_of_a_model_are_shown_where_it_is_to_be_fetched(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    made = planned("gemma.yaml")
    monkeypatch.chdir(tmp_path)
    measure = ("measure_unedited", {"model": "gemma3-270m", "dataset": "facts", "n": "50"})
    fetch = ("model", {"model": "gemma3-270m"})
    assert "ai.google.dev/gemma/terms" in made.overview([fetch]).splitlines()[-1]
    assert "terms" not in made.overview([measure]).lower()


def test_a_layer_that_the_model_does_not_have_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    memit = {"settings": "memit", "layers": [29, 30]}
    message = r"methods\.memit\.layers: found 30, expected 0 to 29: smollm2-135m has 30 blocks"
    with pytest.raises(ConfigError, match=message):
        planned("demo.yaml", methods={"memit": memit}).check()
    planned("demo.yaml", methods={"memit": {**memit, "layers": [28, 29]}}).check()
    # Where the model's file states no shape: of the local directory.
    tiny.save(tmp_path / "model")
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"source": {"local": str(tmp_path / "model")}}))
    last = tiny.model("llama").n_layers - 1
    entry = {"method": "ft", "layers": [last]}
    planned("demo.yaml", models=[str(path)], methods={"a": entry}).check()
    methods = {"a": {**entry, "scan": {"layers": [[last], [last + 1]]}}}
    with pytest.raises(ConfigError, match=rf"found {last + 1}, expected 0 to {last}: mine has"):
        planned("demo.yaml", models=[str(path)], methods=methods).check()


def test_a_local_model_that_is_not_there_is_refused_by_key(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"source": {"local": "no/such"}}))
    made = planned("demo.yaml", models=[str(path)], tasks={})
    with pytest.raises(ConfigError, match=r"mine\.yaml: source\.local: no/such: no such file or"):
        made.check()
    # What was made from it stays usable without it.
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "models" / "mine"
    folder.mkdir(parents=True)
    fake_manifest(folder)
    made.check()


def test_a_shape_that_is_not_the_models_is_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    made = planned("demo.yaml")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "models" / "smollm2-135m"
    folder.mkdir(parents=True)
    fake_manifest(folder)
    with pytest.raises(ConfigError, match=r"shape\.parameters: 134515008, the model has 700"):
        made.check()
