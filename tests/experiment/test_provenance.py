"""What a result is computed by, found from the imports."""

import re
from pathlib import Path

import pytest

from mose.experiment import provenance

ROOT = Path(__file__).parents[2]


def modules(*names, root=ROOT):
    found = provenance.defining([f"mose/{name}.py" for name in names], root)
    return {path.removeprefix("mose/").removesuffix(".py") for path in found}


def test_imports_are_followed_and_carriers_are_not(tmp_path):
    for folder in ("evaluation/tasks", "storage"):
        (tmp_path / "mose" / folder).mkdir(parents=True)
    texts = {
        "a": "import torch\nfrom mose import b, errors\nfrom mose.storage import hdf5\n",
        "b": "def late():\n    from mose.evaluation.tasks import c\n",
        "storage/hdf5": "from mose import d\n",
        "d": "",
        "errors": "",
        "evaluation/tasks/c": "from mose.a import x\n",
    }
    for name, text in texts.items():
        (tmp_path / "mose" / f"{name}.py").write_text(text)
    assert modules("a", root=tmp_path) == {"a", "b", "evaluation/tasks/c"}
    # Asked for by name, a carrier counts.
    assert modules("storage/hdf5", root=tmp_path) == {"storage/hdf5", "d"}


def test_an_edit_depends_on_its_own_method_s_mathematics_and_no_other_s():
    mose = modules("editing/sequence", "methods/mose")
    assert {
        "linalg/low_rank_polar",
        "linalg/orthogonal",
        "editing/targets",
        "models/ragged",
    } <= mose
    assert {"editing/targets", "statistics/keys", "models/tokens", "linalg/second_moment"} <= mose
    encore = modules("editing/sequence", "methods/encore")
    assert "methods/memit" in encore
    assert "linalg/low_rank_polar" not in encore
    assert not {"methods/mose", "report/tables", "evaluation/prompt_scores"} & encore
    assert modules("evaluation/stability") >= {"evaluation/stability", "linalg/orthogonal"}


def test_carriers_are_there():
    for name in provenance.CARRIERS:
        assert (ROOT / "mose" / f"{name}.py").is_file(), name


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/rules").glob("*.smk")), ids=str)
def test_the_files_that_rules_name_are_there(path):
    for name in re.findall(r'"(mose/[a-z_/]+\.py)"', path.read_text()):
        assert (ROOT / name).is_file(), name
