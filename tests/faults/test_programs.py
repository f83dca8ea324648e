"""Programs killed, starved and fed with damaged files: nothing is lost, nothing is wrong."""

import json
import os
import random
import resource
import shutil
import signal
import stat

import chain
import h5py
import pytest
import torch
from safetensors.torch import load_file, save_file

from mose.storage import hdf5
from mose.storage.records import read_jsonl

STAGES = chain.stages()
BY_SEED = [*STAGES, *STAGES]


def files_of(folder):
    return {str(p.relative_to(folder)) for p in (folder / "results").rglob("*") if p.is_file()}


@pytest.mark.parametrize("seed", range(20))
def test_sigkill_at_a_random_moment_of_every_stage(seed, undisturbed, experiment):
    stage = BY_SEED[seed]
    finished, seconds = undisturbed
    command, outputs = STAGES[stage]
    others = {name: (experiment / name).read_bytes() for name in files_of(experiment) - {*outputs}}
    for name in outputs:
        (experiment / name).unlink()
    after = random.Random(seed).uniform(0, seconds[stage])
    chain.kill(experiment, command, after)
    for name in outputs:
        if (experiment / name).exists():  # it may have been done: then it is whole
            same = chain.contents(experiment, [name]), chain.contents(finished, [name])
            assert same[0] == same[1]
    status, said = chain.run(experiment, command)
    assert status == 0, said
    assert chain.contents(experiment, outputs) == chain.contents(finished, outputs)
    assert all((experiment / name).read_bytes() == was for name, was in others.items())


def test_sigterm_is_one_line_and_leaves_nothing_half_written(experiment, undisturbed):
    command, outputs = STAGES["edit2"]
    for name in outputs:
        (experiment / name).unlink()
    before = files_of(experiment)
    # Steps without end: however fast the machine, the signal comes before the program is done.
    endless = chain.stages({"steps": 10**7, "stop_loss": 0.0, "patience": None})["edit2"][0]
    after = undisturbed[1]["edit2"]  # by then it edits
    status, said = chain.kill(experiment, endless, after, signal.SIGTERM)
    assert status == 1, said
    assert "error: terminated" in said
    assert "Traceback" not in said
    assert files_of(experiment) == before
    assert chain.run(experiment, command)[0] == 0
    assert chain.contents(experiment, outputs) == chain.contents(undisturbed[0], outputs)


def test_too_little_memory_is_said_and_loses_nothing(experiment):
    command, outputs = STAGES["edit4"]
    before = chain.contents(experiment, outputs)
    status, said = chain.run(experiment, command, (resource.RLIMIT_AS, 100_000))
    assert status == 1, said
    assert said.strip().splitlines()[-1].startswith("error: out of memory"), said
    assert chain.contents(experiment, outputs) == before


@pytest.mark.parametrize("stage", ["shard", "templates", "edit4", "measure"])
def test_a_full_disk_is_named_and_leaves_the_old_file(stage, experiment):
    command, outputs = STAGES[stage]
    before = chain.contents(experiment, outputs)
    names = files_of(experiment)
    status, said = chain.run(experiment, command, (resource.RLIMIT_FSIZE, 40))
    assert status == 1, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "cannot be written" in last
    assert any(os.path.basename(name) in last for name in outputs)
    assert "free space" in last
    assert files_of(experiment) == names
    assert chain.contents(experiment, outputs) == before


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 3 // 4] ^= 16
    path.write_bytes(raw)


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.unlink()
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = [1.0]
    else:
        save_file({"x": torch.zeros(3)}, path)


def older(path):
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 0


DAMAGE = [
    (target, stage, how)
    for target, stage in (
        ("results/windows0.h5", "shard"), ("results/shard0.h5", "moments"),
        ("results/moments.h5", "edit2"), (f"{chain.RUN}/edits2.h5", "edit4"),
        (f"{chain.RUN}/edits4.h5", "stability"),
        ("tiny-llama/model.safetensors", "measure"),
    )
    for how in (truncate, flip, foreign, older)
    if not (how is older and target.endswith("safetensors"))
]  # fmt: skip


@pytest.mark.parametrize(("target", "stage", "how"), DAMAGE)
def test_a_damaged_file_is_refused_by_name_with_the_cure(target, stage, how, experiment):
    command, outputs = STAGES[stage]
    before = chain.contents(experiment, outputs)
    for name in outputs:
        (experiment / name).unlink()
    how(experiment / target)
    status, said = chain.run(experiment, command)
    if status == 0:
        # Bytes that hold nothing (padding of the format): then the results are the same.
        assert how is flip
        assert chain.contents(experiment, outputs) == before
        return
    assert status == 1
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert target.split("/")[-1] in last or "tiny-llama" in last
    if how is foreign and target.endswith(".h5"):
        assert "of another program" in last
        assert "delete" not in last
    else:
        assert any(cure in last for cure in ("delete", "run again", "check the path"))
    assert not any((experiment / name).exists() for name in outputs)


@pytest.mark.parametrize("how", [truncate, empty, foreign])
def test_a_damaged_model_is_refused_before_it_is_described(how, experiment):
    how(experiment / "tiny-llama/model.safetensors")
    status, said = chain.run(experiment, STAGES["model"][0])
    assert status == 1
    assert "Traceback" not in said
    assert "tiny-llama" in said.strip().splitlines()[-1]


def test_a_changed_option_never_continues_an_old_chain(experiment):
    before = chain.contents(experiment, STAGES["edit4"][1])
    for change in ({"lambda": 0.2}, {"memory": "none"}, {"steps": 5}, {"layers": [2]}):
        status, said = chain.run(experiment, chain.stages(change)["edit4"][0])
        assert status == 1
        assert "Traceback" not in said
        assert "edits2.h5: made with another variant" in said or "holds no layers/2" in said
    assert chain.contents(experiment, STAGES["edit4"][1]) == before


def test_a_model_whose_loss_is_nan_stops_and_names_the_request(experiment):
    path = experiment / "tiny-llama/model.safetensors"
    weights = load_file(path)
    weights["model.layers.2.mlp.down_proj.weight"][:] = float("nan")
    save_file(weights, path, {"format": "pt"})
    status, said = chain.run(experiment, STAGES["model"][0])
    assert status == 1, "a model that says nothing finite is refused at once"
    assert "tiny-llama" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("changed", "step", "cure"),
    [
        # Infinite in float32, and nothing times infinity is NaN.
        ({"kl_weight": 1e39}, 1, "kl_weight (now 1e+39)"),
        ({"learning_rate": 1e39}, 2, "lower learning_rate (now 1e+39)"),
    ],
)
def test_a_loss_that_becomes_nan_stops_and_names_the_request(changed, step, cure, experiment):
    before = chain.contents(experiment, STAGES["edit4"][1])
    requests = read_jsonl(experiment / "results/requests.jsonl")
    status, said = chain.run(experiment, chain.stages(changed)["edit2"][0])
    assert status == 1, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: edits 1 to 1 (")
    assert f"{requests[0]['id']} at layer 1 is not finite at step {step}; " in last
    assert cure in last
    assert chain.contents(experiment, STAGES["edit4"][1]) == before


def test_a_request_that_never_converges_is_recorded_as_such_and_the_chain_goes_on(experiment):
    changed = {"learning_rate": 1e-9, "stop_loss": 0.0, "patience": None}
    command, outputs = chain.stages(changed)["edit2"]
    status, said = chain.run(experiment, command)
    assert status == 0, said
    record = hdf5.read_edit_records(experiment / outputs[0])
    assert [row["steps"] for row in record] == [4, 4]
    assert all(row["loss"] > 1 for row in record)


def test_a_folder_that_may_not_be_written_is_named(experiment):
    # Root may write everywhere: the program is someone else.
    someone = [(chain.USER, 65534)] if os.geteuid() == 0 else []
    command, outputs = STAGES["requests"]
    # pytest's own folders keep others out: the one below them is opened on the way.
    for folder in [experiment, *experiment.parents][:5]:
        if "pytest" in str(folder):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    (experiment / "results").chmod(0o555)

    before = chain.contents(experiment, outputs)
    status, said = chain.run(experiment, command, *someone)
    (experiment / "results").chmod(0o755)
    assert status == 1, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: results/requests.jsonl: cannot be written (Permission denied)")
    assert "permissions" in last
    assert chain.contents(experiment, outputs) == before


def test_two_folders_share_one_model(experiment, undisturbed, tmp_path):
    second = tmp_path / "second"
    shutil.copytree(undisturbed[0], second)
    shutil.rmtree(second / "results/models")
    (second / "results/models").symlink_to(experiment / "results/models")
    (experiment / "results/models/tiny/manifest.json").unlink()
    both = [chain.start(folder, STAGES["model"][0]) for folder in (experiment, second)]
    for running in both:
        status, said = running.end()
        assert status == 0, said
    assert json.loads((second / "results/models/tiny/manifest.json").read_text())
    for folder in (experiment, second):
        assert chain.run(folder, STAGES["measure"][0])[0] == 0
        outputs = STAGES["measure"][1]
        assert chain.contents(folder, outputs) == chain.contents(undisturbed[0], outputs)
