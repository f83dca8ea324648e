"""What a finished run leaves: tables, figures, checkpoints."""

import pandas as pd
from project import METHODS

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
    requests = pd.read_csv(results / "requests.csv")
    assert {"steps", "loss", "attained", "seconds"} <= set(requests.columns)
    assert len(requests) == 8


def test_the_figures_are_pictures(whole):
    figures = whole.folder / "results" / "small" / "figures" / "tiny" / "capitals"
    names = {path.stem for path in figures.glob("*.png")}
    assert {"shares", "success", "stability", "perplexity", "attained", "forgetting"} <= names
    for name in names:
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (figures / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "forgetting_curves" in names
    assert not list((figures / "portability").glob("*.p*")), "the data set has no such prompts"


def test_the_state_ties_every_checkpoint_to_its_parent_and_model(whole):
    folder = whole.folder / "results" / "small" / "tiny" / "capitals" / "memit" / "seed0"
    first = hdf5.read(folder / "edits2.h5", "checkpoint")
    second = hdf5.read(folder / "edits4.h5", "checkpoint")
    manifest = files.read_json(whole.folder / "results" / "models" / "tiny" / "manifest.json")
    assert second.attributes["parent"] == first.digest
    assert first.attributes["model"] == second.attributes["model"] == manifest["fingerprint"]
