import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from mose.errors import StoreError
from mose.storage import files, hdf5, symmetric
from mose.storage.records import read_jsonl


def write_example(path):
    arrays = {
        "layers/6/sum": np.arange(300_000, dtype=np.float64),
        "ids": np.arange(6, dtype=np.int32).reshape(2, 3),
        "empty": np.empty((0, 4)),
    }
    digest = hdf5.write(path, "moments", arrays, {"tokens": 7, "model": "abc", "first": False})
    return arrays, digest


def test_what_is_written_is_read(tmp_path):
    arrays, digest = write_example(tmp_path / "a.h5")
    contents = hdf5.read(tmp_path / "a.h5", "moments")
    assert contents.digest == digest
    assert contents.attributes == {"tokens": 7, "model": "abc", "first": False}
    assert contents.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert contents.arrays[name].dtype == array.dtype
        assert np.array_equal(contents.arrays[name], array)
    assert list(hdf5.read(tmp_path / "a.h5", "moments", ["ids"]).arrays) == ["ids"]
    assert os.listdir(tmp_path) == ["a.h5"]


def test_the_same_content_gives_the_same_bytes_and_digest(tmp_path):
    _, first = write_example(tmp_path / "a.h5")
    _, second = write_example(tmp_path / "b.h5")
    assert first == second
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("target", ["data", "attribute", "digest"])
def test_a_flipped_bit_is_refused(tmp_path, target):
    path = tmp_path / "a.h5"
    write_example(path)
    raw = bytearray(path.read_bytes())
    needle = {
        "data": np.arange(1000, 1010, dtype=np.float64).tobytes(),
        "attribute": b"abc\0",
        "digest": hdf5.read(path, "moments").digest.encode(),
    }[target]
    at = raw.find(needle)
    assert at > 0
    raw[at + 1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(
        StoreError, match=r"a\.h5.*(damaged|cannot be read).*delete it and run again"
    ):
        hdf5.read(path, "moments")


def test_other_kinds_versions_and_foreign_files_are_refused_by_name(tmp_path):
    path = tmp_path / "a.h5"
    write_example(path)
    said = r"a\.h5: found moments of this project, expected checkpoint; check the path"
    with pytest.raises(StoreError, match=said):
        hdf5.read(path, "checkpoint")
    with h5py.File(path, "a") as file:
        file.attrs["format"] = 99
    with pytest.raises(StoreError, match=r"format 99, expected format 1.*delete it and run again"):
        hdf5.read(path, "moments")
    with pytest.raises(StoreError, match=r"none\.h5: no such file"):
        hdf5.read(tmp_path / "none.h5", "moments")


def of_another_program(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.arange(5000)
        file.attrs["format"] = "keras"


def cut_short(path):
    of_another_program(path)
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (of_another_program, "an HDF5 file of another program, expected moments of this project"),
        (cut_short, "an HDF5 file that cannot be read .*, expected moments of this project"),
        (
            lambda path: path.write_text("no HDF5"),
            "not an HDF5 file, expected an HDF5 file .moment",
        ),
        (lambda path: path.touch(), "not an HDF5 file, expected an HDF5 file .moments of this"),
        (lambda path: path.mkdir(), "a folder, expected an HDF5 file .moments of this project"),
    ],
)
def test_the_cure_leaves_files_alone_that_are_not_this_projects(tmp_path, make, what):
    path = tmp_path / "theirs.h5"
    make(path)
    for read in (
        lambda: hdf5.read(path, "moments"),
        lambda: hdf5.read_symmetric(path, "moments", "sum"),
    ):
        with pytest.raises(StoreError, match=rf"theirs\.h5: {what}.*; check the path") as caught:
            read()
        assert "delete" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    write_example(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(
        StoreError, match=r"cannot be read .*have the stage that writes it run again"
    ):
        hdf5.read(path, "moments")


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def fail():
        with files.atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert files.read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_sigkill_while_writing_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.h5"
    _, digest = write_example(path)
    program = (
        "import sys, numpy as np; from mose.storage import files, hdf5\n"
        "for i in range(10**6):\n"
        "    hdf5.write(sys.argv[1], 'moments', {'x': np.full(2_000_000, i % 2, float)}, {})\n"
        "    print(i, flush=True)\n"
    )
    for wait in (0.0, 0.01, 0.03, 0.05):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(wait)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        # Whole, and from some finished write.
        assert set(hdf5.read(path, "moments").arrays["x"]) <= {0.0, 1.0}
    assert hdf5.read(path, "moments").digest != digest


WRITER = """
import os, sys
from mose.storage import files, hdf5
with files.atomic(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.readline()
"""


def begin_writing(path):
    """A process that has written half of a file, and the name it does so under."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return writer, path.parent / os.path.basename(writer.stdout.readline().strip())


def end(writer):
    writer.communicate(timeout=60)


def test_what_a_killed_writer_left_goes_with_the_next_write_of_that_file(tmp_path):
    path = tmp_path / "a.json"
    for other in (path, tmp_path / "a.json.b"):
        writer, left = begin_writing(other)
        writer.kill()
        end(writer)
        assert left.exists()
    kept = left
    files.write_json(tmp_path / "c.json", 1)
    assert len(os.listdir(tmp_path)) == 3, "only the next writer of the same file may judge"
    files.write_json(path, 1)
    assert set(os.listdir(tmp_path)) == {"a.json", "c.json", kept.name}


def test_what_a_living_writer_writes_stays_and_the_last_one_to_finish_counts(tmp_path):
    path = tmp_path / "a.json"
    writer, half = begin_writing(path)
    files.write_json(path, 1)
    assert half.exists()
    assert files.read_json(path) == 1
    end(writer)
    assert writer.returncode == 0
    assert path.read_text() == "half"
    assert os.listdir(tmp_path) == ["a.json"]


def test_of_another_machine_only_what_is_old_goes(tmp_path):
    path = tmp_path / "a.json"
    writer, mine = begin_writing(path)
    writer.kill()
    end(writer)
    # A node of that name with processes of its own, or this one before it was started again.
    _, _, _, machine, process, _ = mine.name.split(".")
    other = mine.with_name(f".a.json.{machine}0.{process}.tmp")
    mine.rename(other)
    files.write_json(path, 1)
    assert other.exists()
    hours = (time.time() - 23 * 3600, time.time() - 25 * 3600)
    os.utime(other, (hours[0], hours[0]))
    files.write_json(path, 2)
    assert other.exists()
    os.utime(other, (hours[1], hours[1]))
    files.write_json(path, 3)
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_packed_triangle_is_exact_in_any_pieces(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(symmetric, "PIECE_BYTES", rows * 7 * 8)
    full = np.random.default_rng(0).normal(size=(7, 7))
    matrix = full + full.T
    path = tmp_path / "m.h5"
    hdf5.write(path, "moments", {"sum": symmetric.PackedSymmetric(matrix)}, {})
    # Read as an array it is the triangle, whose digest was formed piece by piece.
    packed = hdf5.read(path, "moments").arrays["sum"]
    assert np.array_equal(packed, matrix[np.triu_indices(7)])
    assert np.array_equal(hdf5.read_symmetric(path, "moments", "sum"), matrix)
    assert symmetric.side_of(packed.size) == 7
    with pytest.raises(StoreError, match="not a packed triangle"):
        symmetric.side_of(5)


def test_a_flipped_bit_in_a_triangle_is_noticed(tmp_path):
    path = tmp_path / "m.h5"
    hdf5.write(path, "moments", {"sum": symmetric.PackedSymmetric(np.eye(300))}, {})
    with h5py.File(path, "r+") as file:
        file["sum"][5] = 1e-300
    with pytest.raises(StoreError, match=r"m\.h5: sum is damaged; delete it and run again"):
        hdf5.read_symmetric(path, "moments", "sum")
    with pytest.raises(StoreError, match="holds no other; it has sum"):
        hdf5.read_symmetric(path, "moments", "other")


def test_damaged_text_files_are_named_with_their_line(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(StoreError, match=r"r\.jsonl, line 2"):
        read_jsonl(path)
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(StoreError, match=r"m\.json: not valid JSON"):
        files.read_json(tmp_path / "m.json")
