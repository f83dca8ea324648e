"""The script for a GPU runs on the host in its small mode: it is ready when one is there."""

import json
import sys
from pathlib import Path

import pytest
import tiny

from mose.models import sources
from mose.storage import files

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Parses the script's own options, with the host as the device."""

    def parse(*more):
        args = ["--device", "cpu", "--small", "--threads", "1", "--out", str(tmp_path / "out")]
        return gpu.options().parse_args([*args, *more])

    return parse


def rows(args, stage):
    return json.loads((Path(args.out) / f"{stage}.json").read_text())["rows"]


def test_every_stage_runs_and_the_host_is_its_own_equal(arguments, tmp_path):
    manifest = sources.obtain({"local": str(tiny.save(tmp_path / "m"))}, tmp_path / "w")
    files.write_json(tmp_path / "manifest.json", manifest)
    args = arguments()
    gpu.program(args)
    for row in rows(args, "numbers"):
        assert (row["apart"] == 0) == (row["dtype"] == "float32"), row
        assert row["within"]
    assert {row["dtype"] for row in rows(args, "numbers")} == {"float32", "bfloat16"}
    speed = {(row["what"], row.get("remembered")): row for row in rows(args, "speed")}
    assert {("update of mose-both", 6), ("update of alphaedit", 6)} <= speed.keys()
    assert all(row["seconds"] > 0 for row in speed.values())

    real = arguments("--model", str(tmp_path / "manifest.json"), "--only", "comparison")
    gpu.program(real)
    compared = rows(real, "comparison")
    assert [row["edits"] for row in compared] == [4] * 4
    assert all(0 <= row["reliability"] <= 1 for row in compared)


def test_a_difference_is_an_error_and_a_run_out_of_time_leaves_what_it_has(arguments, monkeypatch):
    monkeypatch.setitem(gpu.BOUNDS["float32"], "keys", -1.0)
    args = arguments("--only", "numbers", "--minutes", "0")
    with pytest.raises(SystemExit, match=r"differ:\nnumbers: dtype float32, what keys, apart 0"):
        gpu.program(args)
    assert [row["what"] for row in rows(args, "numbers")] == ["keys"]
