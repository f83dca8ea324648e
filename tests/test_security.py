"""What comes from outside stays data: no pickles, no remote code, no shell, no path out."""

import ast
import json
from pathlib import Path

import pytest
import tiny
import warm
import yaml
from project import SNAKEMAKE, check

from mose.errors import ConfigError, ModelError
from mose.experiment import config
from mose.models import loading
from mose.report import pages

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    p for folder in ("mose", "scripts", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"),
    *("torch.load", "torch.save", "pickle.load", "pickle.loads", "joblib.load", "pd.read_pickle"),
}  # fmt: skip
HOSTILE = [
    "a; rm -rf b",
    "../x",
    "a/b",
    "$(id)",
    "`id`",
    "a b",
    "-a",
    ".",
    "..",
    "",
    "a\n",
    "a'b",
    '"',
]


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_program_unpickles_evaluates_or_asks_a_shell(path):
    for name, keywords in calls(path):
        assert name not in UNSAFE_CALLS, name
        assert keywords.get("shell", "False") == "False", name
        assert keywords.get("allow_pickle", "False") == "False", name
        assert keywords.get("trust_remote_code", "False") == "False", name
        # The editor's own opens models as the rest of the library does.
        if name.endswith("from_pretrained") and name != "Editor.from_pretrained":
            assert "trust_remote_code" in keywords, "said, not left to the library's default"
    assert "import pickle" not in path.read_text()


def test_a_model_that_only_has_a_pickle_is_refused(tmp_path):
    directory = tiny.save(tmp_path / "m")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        loading.load_directory(directory)


def test_a_model_that_brings_code_is_refused_and_the_code_not_run(tmp_path):
    directory = tiny.save(tmp_path / "m")
    settings = json.loads((directory / "config.json").read_text())
    settings |= {
        "model_type": "of-its-own",
        "auto_map": {
            "AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model",
        },
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(settings))
    (directory / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        loading.load_directory(directory)
    assert not (tmp_path / "ran").exists()


def experiment(**changed):
    return {
        "experiment": "e",
        "models": [str(ROOT / "config/models/smollm2-135m.yaml")],
        "datasets": {"facts": {"source": "builtin"}},
        "edits": {"total": 2, "batch": 1, "checkpoint": 2},
        "methods": {"a": {"method": "memit", "layers": [1], "lambda": 1, "learning_rate": 0.1}},
        **changed,
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_no_names_are_refused_wherever_they_become_paths(name, tmp_path):
    good = experiment()
    for key, value in {
        "experiment": name,
        "datasets": {name: good["datasets"]["facts"]},
        "methods": {name: good["methods"]["a"]},
        "device": name,
    }.items():
        with pytest.raises(ConfigError, match=key):
            config.read_experiment(experiment(**{key: value}))
    if name not in ("../x", "a/b"):  # a path before the name is what `models` may have
        with pytest.raises(ConfigError, match="models"):
            config.read_experiment(experiment(models=[f"{name}.yaml"]))


def test_names_that_would_share_a_folder_are_refused(tmp_path):
    (tmp_path / "smollm2-135m.yaml").write_text("source: {local: x}\n")
    both = [*experiment()["models"], str(tmp_path / "smollm2-135m.yaml")]
    with pytest.raises(ConfigError, match="'smollm2-135m' is the name of two files"):
        config.read_experiment(experiment(models=both))
    for taken in ("models", "logs", "benchmarks"):
        with pytest.raises(ConfigError, match=f"experiment: '{taken}' is taken"):
            config.read_experiment(experiment(experiment=taken))
    for taken in ("figures", "captions", "so_far", "task_items"):
        path = tmp_path / f"{taken}.yaml"
        path.write_text("source: {local: x}\n")
        with pytest.raises(ConfigError, match=f"models: .*folder of its own called {taken}"):
            config.read_experiment(experiment(models=[str(path)]))


def test_paths_and_texts_that_a_shell_or_a_browser_would_obey_are_data(tmp_path):
    directory = "tiny $(touch pwned1) 'llama'"
    tiny.save(tmp_path / directory)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"source": {"local": directory}}))
    source = "fa \"cts\" $(touch pwned2) ; touch pwned3 'x' `touch pwned4`.json"
    script = "<script>alert(1)</script>"
    facts = [
        {
            "subject": f"{country} {script}",
            "prompt": "The capital {} is",
            "target_new": tiny.FACTS[(i + 5) % 12][1],
            "target_true": capital,
            "relation": f"{script} & \\input{{x}} $(touch pwned5)",
        }
        for i, (country, capital) in enumerate(tiny.FACTS)
    ]
    (tmp_path / source).write_text(json.dumps(facts))
    made = experiment(
        models=["tiny.yaml"],
        datasets={"facts": {"source": source, "neighbours": 1}},
        corpus={"tokens": 600, "heldout": 64, "window": 16},
        templates={"length": 4},
        device="cpu",
    )
    made["methods"]["a"]["steps"] = 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
    command = [*SNAKEMAKE, "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
    done = warm.jobs().run(command, tmp_path)
    check(done)
    requests = (tmp_path / "results/e/tiny/facts/seed0/requests.jsonl").read_text()
    assert script in requests, "the text itself is kept as it is"
    done = warm.jobs().run([*command, "--report", "report.html"], tmp_path)
    check(done)
    assert "alert(1)" not in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.rglob("pwned*"))


def test_cells_of_a_page_cannot_leave_their_cell():
    shown = pages.markdown(["a"], [["<script>|x"]])
    assert shown.splitlines()[-1] == "| &lt;script>\\|x |"
