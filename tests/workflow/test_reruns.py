"""What a changed configuration or changed code makes again, and what it leaves alone."""

import re
import shutil
from contextlib import contextmanager

import flow
import pandas as pd
import pytest
from project import METHODS, ROOT

MORE = {"total": 6, "batch": 1, "checkpoint": 2}
STOPPED = {**METHODS, "mose-input": {**METHODS["mose-input"], "until": 4}}


def test_a_second_run_does_nothing(whole, tmp_path):
    project = whole.copy(tmp_path)
    assert project.planned() == {}
    done = project.run()
    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def longer(whole, tmp_path_factory):
    """(project, what its plan was, its files before): the experiment with two edits more of one
    method, while the other stops where it is."""
    project = whole.copy(tmp_path_factory.mktemp("longer"))
    before = project.results("tiny/**/*[24].*")
    planned = project.planned(edits=MORE, methods=STOPPED)
    done = flow.run(project, edits=MORE, methods=STOPPED)
    assert done.status == 0, done.said[-4000:]
    return project, planned, before


def test_more_edits_run_only_the_new_segments_of_the_methods_that_go_on(longer):
    project, planned, before = longer
    assert planned == {
        "edit": 1,
        "measure": 1,
        "stability": 1,
        "measure_unedited": 1,
        "enough_requests": 1,
        "tables": 1,
        "figures": 1,
        "report_page": 1,
        "all": 1,
        "total": 9,
    }
    after = project.results("tiny/**/*[24].*")
    assert len(before) > 20
    assert {name: after[name] for name in before} == before
    summary = pd.read_csv(project.folder / "results" / "small" / "summary.csv")
    reached = {name: sorted(rows.edits) for name, rows in summary.groupby("method")}
    assert reached == {"memit": [0, 2, 4, 6], "mose-input": [0, 2, 4]}


def test_the_tables_of_both_say_how_far_each_went(longer):
    folder = longer[0].folder / "results" / "small"
    assert "mose-input (4 edits) &" in (folder / "summary.tex").read_text()
    ranks = pd.read_csv(folder / "ranks.csv")
    assert ranks.groupby("method").edits.max().to_dict() == {"memit": 4, "mose-input": 4}


def test_a_method_that_had_stopped_goes_on(longer):
    planned = longer[0].planned(edits=MORE)
    assert planned["edit"] == planned["measure"] == planned["stability"] == 1
    assert "measure_unedited" not in planned


def test_a_changed_option_starts_its_own_chain_afresh_and_no_other(longer):
    methods = {**STOPPED, "memit": {**METHODS["memit"], "lambda": 0.2}}
    planned = longer[0].planned(methods=methods, edits=MORE)
    assert planned["edit"] == 3, "all three segments of the changed method"
    assert "corpus" not in planned
    assert "second_moments" not in planned


def test_a_method_of_another_layer_leaves_the_chains_of_the_others(longer):
    methods = {**STOPPED, "higher": {**METHODS["memit"], "layers": [0, 2]}}
    planned = longer[0].planned("--", flow.TABLES, edits=MORE, methods=methods)
    assert planned["edit"] == planned["measure"] == planned["stability"] == 3, (
        "those of the new one"
    )
    assert planned["second_moments"] == 2, "its second moments are of a further file"


def test_second_moments_that_were_put_aside_are_not_read(longer, tmp_path):
    project = longer[0].copy(tmp_path)
    (moments,) = (project.folder / "results/models/tiny/corpus").glob("*/layers*")
    for name in ("layers1-2.old", "layers-2", "layers"):
        shutil.copytree(moments, moments.with_name(name))
    assert project.planned("--", flow.TABLES, edits=MORE, methods=STOPPED) == {}


@pytest.mark.parametrize(("key", "value"), [("device", "auto"), ("threads", 2)])
def test_where_a_run_is_computed_makes_nothing_again(longer, key, value):
    changed = {key: value, "edits": MORE, "methods": STOPPED}
    assert longer[0].planned("--", flow.TABLES, **changed) == {}


def test_another_number_format_leaves_the_text_of_this_one(longer):
    planned = longer[0].planned("--", flow.TABLES, dtype="bfloat16", edits=MORE, methods=STOPPED)
    assert planned["corpus"] == 3
    assert planned["edit"] == 5


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
    """The file has a line more for a while, before its first import."""
    before = path.read_text()
    path.write_text(re.sub(r"^(?=import |from )", f"{line}\n", before, count=1, flags=re.MULTILINE))
    assert line in path.read_text()
    try:
        yield
    finally:
        path.write_text(before)


def test_another_checkout_and_other_words_make_nothing_again(longer, checkout):
    with with_line(checkout / "mose/models/causal_lm.py", "# Another comment."):
        assert (
            longer[0].planned("--", flow.TABLES, checkout=checkout, edits=MORE, methods=STOPPED)
            == {}
        )


def test_a_changed_method_makes_its_own_chains_again_and_no_other(longer, checkout):
    with with_line(checkout / "mose/methods/memit.py", "OTHER = 1"):
        planned = longer[0].planned(
            "--", flow.TABLES, checkout=checkout, edits=MORE, methods=STOPPED
        )
    assert planned["edit"] == planned["measure"] == planned["stability"] == 3, "MEMIT's segments"
    assert set(planned) == {
        *("edit", "measure", "stability", "tables", "total"),
    }  # fmt: skip


def test_a_changed_pass_of_the_model_makes_all_again_that_runs_it(longer, checkout):
    with with_line(checkout / "mose/models/causal_lm.py", "OTHER = 1"):
        planned = longer[0].planned(
            "--", flow.TABLES, checkout=checkout, edits=MORE, methods=STOPPED
        )
    assert planned["edit"] == planned["measure"] == planned["stability"] == 5
    assert planned["second_moments"] == 2
    assert planned["measure_unedited"] == 3
    # The model's rule checks the passes against the whole model: it checks the changed one, too.
    assert {"model", "templates", "perplexity_unedited"} <= set(planned)


def test_a_changed_template_of_the_report_writes_the_report_again_and_nothing_else(
    whole, checkout, tmp_path
):
    project = whole.copy(tmp_path)
    assert project.planned(checkout=checkout) == {}
    template = checkout / "mose/report/html_page.html"
    before = template.read_text()
    template.write_text(before.replace("</body>", "<p>More.</p></body>"))
    try:
        assert template.read_text() != before
        assert project.planned(checkout=checkout) == {"report_page": 1, "all": 1, "total": 2}
    finally:
        template.write_text(before)
