"""What a finished run leaves: tables, figures, checkpoints, a report."""

import json
import zipfile
from pathlib import Path

import browser
import pandas as pd
from project import METHODS, check

from mose.report import catalog, html_page
from mose.storage import files, hdf5


def test_a_run_ends_in_a_summary_that_says_what_was_asked(whole):
    results = whole.folder / "results" / "small"
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
    said = (whole.folder / "said.txt").read_text()
    assert "mose-input" in said, "the table is shown at the end of the run"
    assert (results / "summary.txt").read_text() in said
    paper = (results / "summary.tex").read_text().splitlines()
    rows = [line.split(" & ")[0] for line in paper if line.endswith(r" \\") and "&" in line]
    assert rows == ["Method", "unedited", *METHODS]


def test_every_measurement_is_kept_per_prompt_and_request(whole):
    results = whole.folder / "results" / "small"
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


def test_the_figures_are_pictures(whole):
    figures = whole.folder / "results" / "small" / "figures" / "tiny" / "capitals"
    names = {path.stem for path in figures.glob("*.png")}
    assert {"shares", "success", "stability", "perplexity", "attained", "forgetting"} <= names
    for name in names:
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert {"forgetting_curves", "first_edits"} <= names
    assert not list((figures / "portability").glob("*.p*")), "the data set has no such prompts"


def test_the_state_ties_every_checkpoint_to_its_parent_and_model(whole):
    folder = whole.folder / "results" / "small" / "tiny" / "capitals" / "memit" / "seed0"
    first = hdf5.read(folder / "edits2.h5", "checkpoint")
    second = hdf5.read(folder / "edits4.h5", "checkpoint")
    manifest = files.read_json(whole.folder / "results" / "models" / "tiny" / "manifest.json")
    assert second.attributes["parent"] == first.digest
    assert first.attributes["model"] == second.attributes["model"] == manifest["fingerprint"]


def test_a_run_needs_nothing_of_the_workflow_in_its_folder(whole):
    there = {path.name for path in whole.folder.iterdir() if path.name != ".snakemake"}
    assert there == {
        "config.yaml",
        "facts.json",
        "said.txt",
        "seconds.txt",
        "tiny.yaml",
        "tiny-llama",
        "results",
    }


def test_the_tables_and_figures_made_are_those_of_the_catalog(whole):
    results = whole.folder / "results" / "small"
    assert {path.stem for path in results.glob("*.csv")} == {e.name for e in catalog.TABLES}
    drawn = {path.stem for path in (results / "figures" / "tiny" / "capitals").glob("*.pdf")}
    assert drawn == {entry.name for entry in catalog.figures(2)}
    written = {path.stem: path.read_text().strip() for path in (results / "captions").iterdir()}
    assert written == catalog.captions()


def test_the_report_packs_every_table_and_figure_with_its_own_caption(whole, tmp_path):
    project = whole.copy(tmp_path)
    done = project.run("--report", "report.zip")
    check(done)
    with zipfile.ZipFile(project.folder / "report.zip") as packed:
        names = [Path(name).name for name in packed.namelist()]
        page = packed.read("report/report.html").decode()
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


def test_the_report_shows_every_table_and_figure_in_a_browser(whole, tmp_path):
    page = (whole.folder / "results" / "small" / "report.html").read_text()
    found, heard = browser.visit(
        page,
        """return {
          loaded: [...document.images].map(image => image.complete && image.naturalWidth > 100),
          figures: [...document.querySelectorAll("figcaption")].map(one => one.textContent),
          tables: [...document.querySelectorAll("details .caption")].map(one => one.textContent),
          stages: [...document.querySelectorAll("table")[2].tBodies[0].rows].map(
            row => [row.cells[0].textContent, row.cells[1].textContent]),
          summary: document.querySelector("table").tBodies[0].rows.length,
          text: document.body.textContent,
        }""",
        tmp_path,
    )
    assert heard == []
    drawn, tables = catalog.figures(2), [e for e in catalog.TABLES if not e.per_prompt]
    assert found["loaded"] == [True] * (1 + len(drawn))
    assert found["figures"].pop(0) == html_page.TIMES_CAPTION
    for kind, entries, place in (
        ("figures", drawn, "figures/tiny/capitals/{}.png"),
        ("tables", tables, "{}.csv"),
    ):
        expected = [
            f"{entry.caption} File: results/small/{place.format(entry.name)}" for entry in entries
        ]
        assert sorted(found[kind]) == sorted(expected)
    stages = dict(found["stages"])
    assert stages["edit"] == stages["measure"] == "4"
    assert {"model", "second_moments", "tables", "figures"} <= stages.keys()
    assert found["summary"] == 2 * 3
    manifest = files.read_json(whole.folder / "results" / "models" / "tiny" / "manifest.json")
    for said in (manifest["fingerprint"], "learning_rate 0.2", "checkpoint: 2", "facts.json"):
        assert said in found["text"]
