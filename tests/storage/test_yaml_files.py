"""YAML that people write: what it says counts, and what it says twice is refused."""

import pytest
import yaml

from mose.errors import ConfigError
from mose.storage.yaml_files import read_yaml, typed

GOOD = """\
a: &first {x: 1, y: [1, 2.5, null, true]}
b: {<<: *first, x: 2}
c:
  <<: *first
  z: "text"
"d": *first
"""


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_is_read_as_yaml_s_own_safe_loader_reads_it(tmp_path):
    assert read_yaml(write(tmp_path, GOOD)) == yaml.safe_load(GOOD)
    assert read_yaml(write(tmp_path, "")) is None


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a", 1),
        ("a: 1\n'a': 1\n", 2, "a", 1),
        ("m:\n  memit: {x: 1}\n  mose: {}\n  memit: {x: 1}\n", 4, "memit", 2),
        ("m: [{x: 1, y: 2, x: 3}]", 1, "x", 1),
        ("a: &f {x: 1}\nb:\n  <<: *f\n  x: 2\n  x: 3\n", 5, "x", 4),
        ("1: a\n1: b\n", 2, "1", 1),
    ],
)
def test_a_key_that_is_stated_twice_is_refused_by_file_line_and_name(
    tmp_path, text, line, key, first
):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    said = f"{path}: line {line}: key '{key}' is stated twice (first on line {first})"
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("!!python/object/apply:os.system ['id']", "not valid YAML"),
        (b"a: \xff", "cannot be read (not UTF-8 text)"),
    ],
)
def test_what_is_no_yaml_is_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_folder_or_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "[0, 1]",
        "{total: 20, checkpoint: 20}",
        "{a: {b: [1.5, -2, true, null, x, 0x10, 1e-5, 'a b']}}",
        "{label: {}, other: []}",
    ],
)
def test_values_read_without_types_get_those_of_the_safe_loader(text):
    untyped = yaml.load(text, Loader=yaml.BaseLoader)
    assert typed(untyped) == yaml.safe_load(text)
