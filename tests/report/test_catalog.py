"""What the catalog lists is what the programs make, no more and no less."""

import subprocess
import sys

import pandas as pd
import pytest
from docutils.core import publish_string
from score_frames import edited_scores, unedited_scores

from mose.report import catalog, intervals, prompt_metrics, retention, tables
from mose.report.figures import gallery

AT = {"model": "tiny", "dataset": "facts", "method": "memit", "seed": 0}


def experiment(checkpoints):
    """The tables that figures are drawn from, of one run."""
    unedited = unedited_scores()
    before = prompt_metrics.score_metrics(unedited, unedited)
    after = prompt_metrics.score_metrics(edited_scores(), unedited)
    parts = [tables.identify(before, **AT, edits=0, when="retention")]
    for n in checkpoints:
        parts.append(tables.identify(after, **AT, edits=n, when="retention"))
    parts.append(tables.identify(after, **AT, edits=checkpoints[0], when="immediate"))
    metrics = pd.concat(parts, ignore_index=True).assign(drawn_of=0)[tables.METRICS]
    per_checkpoint = [{**AT, "edits": n} for n in (0, *checkpoints)]
    perplexity = pd.DataFrame([{**at, "perplexity": 9.0} for at in per_checkpoint])
    moved = {**dict.fromkeys(tables.RATIOS, 1.5), "relative_change": 0.1, "energy_ratio": 1.1}
    moved |= {"left_similarity": 0.9, "right_similarity": 0.8}
    stability = pd.DataFrame([{**at, "layer": 1, **moved} for at in per_checkpoint[1:]])
    matrix = retention.retention_matrix(metrics, "reliability")
    return {
        "summary": tables.summarize(metrics, stability, perplexity),
        "summary_intervals": intervals.summary_intervals(metrics),
        "metrics": metrics,
        "means": intervals.means_with_intervals(metrics),
        "retention_matrix": matrix,
        "forgetting_curves": retention.forgetting_curves(matrix),
        "stability": stability,
        "edit_records": pd.DataFrame(
            [{**AT, "order": i, "attained": 0.9} for i in range(checkpoints[-1])]
        ),
    }


@pytest.mark.parametrize("checkpoints", [[3], [3, 6]])
def test_the_figures_drawn_are_those_listed(checkpoints):
    own = experiment(checkpoints)
    assert own.keys() == set(gallery.TABLES)
    drawn = list(gallery.figures(own, ["tiny"], ["facts"], ["memit"], checkpoints))
    assert {(one.model, one.dataset) for one in drawn} == {("tiny", "facts")}
    assert {one.figure.get_suptitle() for one in drawn} == {"tiny, facts"}
    names = {one.name for one in drawn}
    listed = {entry.name for entry in catalog.figures(len(checkpoints))}
    # The frames have a kind of portability.
    by_kind = {f"portability/{catalog.PORTABILITY.name}"}
    assert names - by_kind == listed
    assert {"forgetting_curves", "first_edits"} & listed == (
        {"forgetting_curves", "first_edits"} if len(checkpoints) > 1 else set()
    )


def test_nothing_is_drawn_of_what_is_not_measured():
    own = experiment([3])
    assert list(gallery.figures(own, ["other"], ["facts"], ["memit"], [3])) == []


def test_captions_are_plain_restructured_text_of_their_own():
    captions = catalog.captions()
    assert len(set(captions.values())) == len(captions)
    for name, caption in captions.items():
        assert caption.endswith("."), name
        assert "{" not in caption, "Snakemake takes it for a template"
        html = publish_string(
            caption, writer="html", settings_overrides={"halt_level": 2, "report_level": 2}
        )
        assert caption[:20].encode() in html


def test_a_table_and_a_figure_may_share_a_name_but_not_a_caption():
    stability = {n: c for n, c in catalog.captions().items() if n.endswith("stability")}
    assert stability.keys() == {"table_stability", "figure_stability"}


def test_the_catalog_is_read_without_pandas_and_matplotlib():
    code = (
        "import sys; from mose.report import catalog; "
        "print([name for name in ('pandas', 'matplotlib', 'torch') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
