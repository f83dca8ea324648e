"""The workflow with real Snakemake, on a tiny random model: runs, extensions, faults, refusals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from project import METHODS, ROOT, SNAKEMAKE, TARGETS, Project

from mose.report import catalog, tables
from mose.storage import files, hdf5


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two methods, four edits in two checkpoints; tests only add to it."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.run()
    assert done.returncode == 0, done.stderr[-4000:]
    project.stderr = done.stderr
    return project


def test_a_run_ends_in_a_summary_that_says_what_was_asked(finished):
    results = finished.folder / "results" / "small"
    summary = pd.read_csv(results / "summary.csv")
    assert list(summary.columns[:12]) == [
        *("method", "seed", "edits", "reliability", "generalization", "locality", "efficacy"),
        *("paraphrase", "neighborhood", "perplexity", "frobenius_ratio", "condition_ratio"),
    ]
    assert list(zip(summary.method, summary.edits, strict=True)) == [
        (method, edits) for method in METHODS for edits in (0, 2, 4)
    ]
    assert not summary.drop(columns="portability").isna().any().any()
    rotated = summary[summary.method == "mose-input"]
    assert (rotated.frobenius_ratio - 1).abs().max() < 1e-5
    assert (rotated.condition_ratio - 1).abs().max() < 1e-5
    moved = summary[(summary.method == "memit") & (summary.edits == 4)]
    assert abs(moved.frobenius_ratio.item() - 1) > 1e-3
    assert "mose-input" in finished.stderr, "the table is shown at the end of the run"
    assert (results / "summary.txt").read_text() in finished.stderr
    paper = (results / "summary.tex").read_text().splitlines()
    rows = [line.split(" & ")[0] for line in paper if line.endswith(r" \\") and "&" in line]
    assert rows == ["Method", "unedited", *METHODS]


def test_every_measurement_is_kept_per_prompt_and_request(finished):
    results = finished.folder / "results" / "small"
    metrics = pd.read_csv(results / "metrics.csv", dtype={"request": str})
    retention = metrics[(metrics.when == "retention") & (metrics.method == "memit")]
    assert retention[retention.edits == 4].request.nunique() == 4
    assert retention[retention.edits == 2].request.nunique() == 2
    immediate = metrics[(metrics.when == "immediate") & (metrics.method == "memit")]
    # One batch is one request here: each is measured right after itself.
    assert sorted(immediate.groupby("request").edits.first()) == [1, 2, 3, 4]
    records = pd.read_csv(results / "edit_records.csv")
    assert {"steps", "loss", "attained", "seconds"} <= set(records.columns)
    assert len(records) == 8


def test_the_figures_are_pictures(finished):
    figures = finished.folder / "results" / "small" / "figures" / "tiny" / "capitals"
    names = {path.stem for path in figures.glob("*.png")}
    assert {"shares", "success", "stability", "perplexity", "attained", "forgetting"} <= names
    for name in names:
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "forgetting_curves" in names
    assert not list((figures / "portability").glob("*.p*")), "the data set has no such prompts"


def test_a_run_needs_nothing_of_the_workflow_in_its_folder(finished):
    there = {path.name for path in finished.folder.iterdir() if path.name != ".snakemake"}
    assert there == {"config.yaml", "facts.json", "tiny.yaml", "tiny-llama", "results"}


def test_the_tables_and_figures_made_are_those_of_the_catalog(finished):
    results = finished.folder / "results" / "small"
    assert {path.stem for path in results.glob("*.csv")} == {e.name for e in catalog.TABLES}
    drawn = {path.stem for path in (results / "figures" / "tiny" / "capitals").glob("*.pdf")}
    assert drawn == {entry.name for entry in catalog.figures(2)}
    written = {path.stem: path.read_text().strip() for path in (results / "captions").iterdir()}
    assert written == catalog.captions()


def test_the_report_packs_every_table_and_figure_with_its_own_caption(finished):
    done = finished.run("--report", "report.zip")
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(finished.folder / "report.zip") as packed:
        names = [Path(name).name for name in packed.namelist()]
        page = packed.read("report/report.html").decode()
    (finished.folder / "report.zip").unlink()
    packed_tables = [entry for entry in catalog.TABLES if not entry.per_prompt]
    expected = [f"{entry.name}.csv" for entry in packed_tables]
    expected += [f"{entry.name}.png" for entry in catalog.figures(2)]
    assert sorted(names) == sorted([*expected, "report.html"])
    for kind, entries in (("table", packed_tables), ("figure", catalog.figures(2))):
        for entry in entries:
            assert entry.caption in page, entry.name
            labels = {"kind": kind, "shows": entry.title}
            assert json.dumps(labels)[1:-1] in page, entry.name
    for category in {entry.category for entry in packed_tables}:
        assert f'"{category}": {{' in page
    assert '"model": "tiny", "data set": "capitals"' in page


def test_a_second_run_does_nothing(finished):
    assert finished.planned() == {}
    assert "Nothing to be done" in finished.run().stdout + finished.run().stderr


def test_the_state_ties_every_checkpoint_to_its_parent_and_model(finished):
    folder = finished.folder / "results" / "small" / "tiny" / "capitals" / "memit" / "seed0"
    first = hdf5.read(folder / "edits2.h5", "checkpoint")
    second = hdf5.read(folder / "edits4.h5", "checkpoint")
    manifest = files.read_json(finished.folder / "results" / "models" / "tiny" / "manifest.json")
    assert second.attributes["parent"] == first.digest
    assert first.attributes["model"] == second.attributes["model"] == manifest["fingerprint"]


def test_more_edits_run_only_the_new_segments(finished):
    old = finished.results("tiny/**/*[24].*")
    assert len(old) > 20
    longer = {"total": 6, "batch": 1, "checkpoint": 2}
    planned = finished.planned(edits=longer)
    methods = len(METHODS)
    assert planned.pop("total") == sum(planned.values())
    assert planned == {
        "edit": methods,
        "measure": methods,
        "stability": methods,
        "measure_unedited": 1,
        "enough_requests": 1,
        "tables": 1,
        "figures": 1,
        "all": 1,
    }
    done = finished.run(edits=longer)
    assert done.returncode == 0, done.stderr[-4000:]
    new = finished.results("tiny/**/*[24].*")
    assert {name: new[name] for name in old} == old
    summary = pd.read_csv(finished.folder / "results" / "small" / "summary.csv")
    assert sorted(summary.edits.unique()) == [0, 2, 4, 6]


def test_a_changed_option_starts_its_own_chain_afresh_and_no_other(finished):
    methods = {**METHODS, "memit": {**METHODS["memit"], "lambda": 0.2}}
    planned = finished.planned(methods=methods, edits={"total": 6, "batch": 1, "checkpoint": 2})
    assert planned["edit"] == 3, "all three segments of the changed method"
    assert "corpus" not in planned
    assert "second_moments" not in planned


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the project at another place."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "scripts", "mose", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


@contextmanager
def with_line(path, line):
    """The file has a line more for a while, before it imports torch."""
    before = path.read_text()
    path.write_text(before.replace("\nimport torch\n", f"\n{line}\nimport torch\n", 1))
    assert line in path.read_text()
    try:
        yield
    finally:
        path.write_text(before)


SIX = {"total": 6, "batch": 1, "checkpoint": 2}


@pytest.fixture(scope="module")
def longer(finished):
    """The finished run with six edits."""
    done = finished.run(edits=SIX)
    assert done.returncode == 0, done.stderr[-4000:]
    return finished


def test_another_checkout_and_other_words_make_nothing_again(longer, checkout):
    with with_line(checkout / "mose/models/causal_lm.py", "# Another comment."):
        assert longer.planned(checkout, edits=SIX) == {}


def test_a_changed_method_makes_its_own_chains_again_and_no_other(longer, checkout):
    with with_line(checkout / "mose/methods/memit.py", "OTHER = 1"):
        planned = longer.planned(checkout, edits=SIX)
    assert planned["edit"] == planned["measure"] == planned["stability"] == 3, "MEMIT's segments"
    assert set(planned) == {
        *("edit", "measure", "stability", "tables", "figures", "all", "total"),
    }  # fmt: skip


def test_a_changed_pass_of_the_model_makes_all_again_that_runs_it(longer, checkout):
    with with_line(checkout / "mose/models/causal_lm.py", "OTHER = 1"):
        planned = longer.planned(checkout, edits=SIX)
    assert planned["edit"] == planned["measure"] == planned["stability"] == 6
    assert planned["second_moments"] == 2
    assert planned["measure_unedited"] == 3
    # The model's rule checks the passes against the whole model: it checks the changed one, too.
    assert {"model", "templates", "perplexity_unedited"} <= set(planned)


def test_sigkill_within_a_segment_loses_only_that_segment(tmp_path, finished):
    project = Project(tmp_path)
    edits = {"total": 6, "batch": 1, "checkpoint": 2}
    only = {"memit": METHODS["memit"]}
    running = subprocess.Popen(
        project.command(methods=only, edits=edits),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    chain = tmp_path / "results" / "small" / "tiny" / "capitals" / "memit" / "seed0"
    log = tmp_path / "results" / "logs" / "edit" / "small.tiny.capitals.memit.0.4.log"
    deadline = time.monotonic() + 300
    # The second segment has begun once its log speaks of its first batch.
    while not (log.exists() and "edits: mean loss" in log.read_text()):
        assert running.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert (chain / "edits2.h5").exists()
    assert not (chain / "edits4.h5").exists()
    before = (chain / "edits2.h5").stat().st_mtime_ns

    project.run("--unlock", methods=only, edits=edits)
    done = project.run(methods=only, edits=edits)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (chain / "edits2.h5").stat().st_mtime_ns == before, "the finished segment is kept"
    # The numbers are those of the run that nobody disturbed.
    undisturbed = finished.folder / chain.relative_to(tmp_path)
    if not (undisturbed / "scores6.csv").exists():
        finished.run(edits=edits)
    for name in ("scores2", "scores4", "scores6", "immediate6", "stability6", "perplexity6"):
        assert (chain / f"{name}.csv").read_bytes() == (undisturbed / f"{name}.csv").read_bytes()


@contextmanager
def hidden(path):
    """The file is not there for a while."""
    away = path.with_suffix(".away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


def test_what_is_finished_has_its_tables_while_the_rest_is_not(finished):
    results = finished.folder / "results" / "small"
    whole = (results / "summary.csv").read_bytes()
    later = {**METHODS["memit"], "lambda": 0.5}
    changed = {
        "methods": {**METHODS, "later": later},
        "edits": {"total": 8, "batch": 1, "checkpoint": 2},
    }
    done = finished.run("--", "so_far", **changed)
    assert done.returncode == 0, done.stderr[-4000:]
    made = pd.read_csv(results / "so_far" / "summary.csv")
    pd.testing.assert_frame_equal(made, pd.read_csv(results / "summary.csv"))
    assert 8 not in set(made.edits)
    pictures = results / "so_far" / "figures" / "tiny" / "capitals"
    assert (pictures / "shares.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "summary.csv").read_bytes() == whole

    # One measurement less is one row less, of its own method alone.
    with hidden(results / "tiny" / "capitals" / "memit" / "seed0" / "stability2.csv"):
        finished.run("--", "so_far", **changed)
    fewer = pd.read_csv(results / "so_far" / "summary.csv")
    left_out = (made.method == "memit") & (made.edits == 2)
    pd.testing.assert_frame_equal(fewer, made[~left_out].reset_index(drop=True))

    # Without the unedited model's perplexity there is nothing to compare with.
    with hidden(results / "tiny" / "unedited" / "perplexity.csv"):
        refused = finished.run("--", "so_far", **changed)
    assert refused.returncode != 0
    assert "error: results/small: no checkpoint is measured yet together with" in refused.stderr

    refused = finished.run("--", "so_far", experiment="unbegun")
    assert refused.returncode != 0
    assert "error: results/unbegun: no checkpoint is measured yet" in refused.stderr


def test_of_earlier_requests_a_sample_can_be_scored_and_the_rest_is_counted(finished):
    changed = {"experiment": "sampled", "methods": {"memit": METHODS["memit"]}}
    done = finished.run(**changed, measure={"earlier": 1})
    assert done.returncode == 0, done.stderr[-4000:]
    results = finished.folder / "results" / "sampled"
    (folder,) = results.glob("tiny/capitals/memit/seed0")
    orders = sorted(pd.read_csv(folder / "scores4.csv")["order"].unique())
    assert len(orders) == 3
    assert orders[1:] == [2, 3], "the checkpoint's own segment is whole"
    means = tables.read(results / "means.csv")
    own = means.query("edits == 4 and when == 'retention' and metric == 'reliability'")
    assert own[["requests", "left_out"]].to_numpy().tolist() == [[3, 1]]


def test_trained_wrapped_projected_and_scanned_methods_go_through_the_same_stages(finished):
    memit = METHODS["memit"]
    methods = {
        "ft": {"method": "ft", "layers": [1], "steps": 3},
        "oft": {"method": "oft", "layers": [1, 2], "steps": 3},
        "prune": {**memit, "method": "prune"},
        "rome": {"method": "rome", "layers": [2], **TARGETS},
        "null": {
            "method": "sphere", "base": "alphaedit", "null_space": "energy", "layers": [1, 2],
            **TARGETS,
        },
        "memit": {**memit, "scan": {"lambda": [0.1, 10.0]}},
    }  # fmt: skip
    changed = {
        "experiment": "many",
        "methods": methods,
        "edits": {"total": 2, "batch": 2, "checkpoint": 2},
    }
    done = finished.run("--", "all", "scan", **changed)
    assert done.returncode == 0, done.stderr[-4000:]
    results = finished.folder / "results" / "many"
    summary = tables.read(results / "summary.csv").query("edits == 2").set_index("method")
    labels = [*list(methods)[:-1], "memit_lambda0p1", "memit_lambda10p0"]
    assert set(summary.index) == set(labels)
    assert summary.loc["oft", "condition_ratio"] == pytest.approx(1, abs=1e-5)
    without = ["model", "dataset", "portability"]  # the data set has no such prompts
    assert not summary.drop(columns=without).isna().any().any()
    attained = tables.read(results / "edit_records.csv").groupby("method")["attained"].count()
    assert sorted(attained[attained == 0].index) == ["ft", "oft"]
    null_space = tables.read(results / "tiny" / "null_space" / "null.csv")
    assert (null_space["rank"] < null_space["width"]).all()
    assert null_space["heldout_share"].between(0, 1).all()
    ranked = tables.read(results / "scan.csv")
    assert ranked[ranked.entry == "memit"]["lambda"].tolist() in ([0.1, 10.0], [10.0, 0.1])
    best = yaml.safe_load((results / "best_settings.yaml").read_text())["tiny, capitals"]
    chosen = ranked[(ranked.entry == "memit") & (ranked["rank"] == 1)]["lambda"].item()
    assert best["memit"]["lambda"] == chosen
    assert set(best) == set(methods)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"edits": {"total": 4, "batch": 1, "checkpoint": 2, "stepp": 1}},
            "config: edits: unknown key 'stepp'; known are total, batch, checkpoint",
        ),
        (
            {"methods": {"m": {**METHODS["memit"], "stepp": 1}}},
            "config: methods.m: unknown key 'stepp'; did you mean 'steps'?",
        ),
        ({"models": ["none.yaml"]}, "none.yaml: no such file"),
    ],
)
def test_a_mistake_in_the_config_stops_before_anything_runs(finished, changed, message):
    refused = finished.run("-n", **changed)
    assert refused.returncode != 0
    shown = refused.stdout + refused.stderr
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"experiment": "toomany", "edits": {"total": 40, "batch": 1, "checkpoint": 20}},
            "error: edits.total asks for 40 edits and",
        ),
        (
            {"methods": {"m": {**METHODS["memit"], "layers": [1, 9]}}},
            "error: methods.*.layers: layer 9 is out of range, the model has layers 0 to 3",
        ),
        (
            {"models": ["absent.yaml"]},
            "error: source.local:",
        ),
    ],
)
def test_what_only_a_job_can_notice_is_one_line_in_its_log(finished, changed, message):
    (finished.folder / "absent.yaml").write_text(
        yaml.safe_dump({"source": {"local": "no-such-model"}})
    )
    refused = finished.run(**changed)
    assert refused.returncode != 0
    shown = refused.stdout + refused.stderr
    assert message in shown
    assert "Traceback" not in shown
    left = [p for p in (finished.folder / "results").rglob("*") if p.suffix in (".tmp", ".part")]
    assert left == []


def test_a_clean_checkout_plans_the_demo():
    shown = subprocess.run(
        [*SNAKEMAKE, "-n", "--quiet", "rules", "--forceall"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"^edit +8$", shown.stdout + shown.stderr, re.MULTILINE)


@pytest.mark.parametrize("program", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_every_program_explains_itself_quickly(program):
    begun = time.monotonic()
    shown = subprocess.run(
        [sys.executable, program, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert shown.stdout.startswith("usage:")
    assert any(name in shown.stdout for name in ("--out", "--runs", "--scores", "--experiment"))
    # pandas alone takes a second on a busy machine; torch would take three.
    assert time.monotonic() - begun < 10
