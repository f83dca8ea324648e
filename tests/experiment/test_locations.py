"""Files of config/: a user's own first, then those beside the workflow."""

from pathlib import Path

import yaml

from mose.experiment import config
from mose.experiment.locations import CODE, find, workflow_folder

ROOT = Path(__file__).parents[2]


def test_a_file_of_the_working_directory_comes_before_the_one_beside_the_workflow(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name = "config/models/smollm2-135m.yaml"
    assert find(name) == ROOT / name
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.write_text("source: {local: x}\n")
    assert find(name) == Path(name)
    # Of neither the user's own is named, in errors.
    assert find("config/models/none.yaml") == Path("config/models/none.yaml")


def test_models_and_tasks_are_found_from_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    _, models = config.read_experiment(demo)
    assert list(models) == ["smollm2-135m"]
    filled, _ = config.read_experiment({**demo, "tasks": {"rte": "rte"}})
    assert filled["tasks"]["rte"]["kind"] == "choice"


def test_the_code_and_the_workflow_of_a_checkout_are_in_one_folder():
    assert (CODE / "mose" / "errors.py").is_file()
    assert workflow_folder() == CODE == ROOT
