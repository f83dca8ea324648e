"""What the demo's configuration plans, in a folder without results: the checkout may hold those of
a demo."""

import re

import pytest
import warm
from project import ROOT, SNAKEMAKE


@pytest.fixture
def plan(tmp_path):
    """Run a dry run of Snakemake in a checkout without results; what it prints."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    command = [*SNAKEMAKE, "--snakefile", str(ROOT / "Snakefile"), "-n"]

    def run(*arguments):
        shown = warm.jobs().run([*command, *arguments], tmp_path)
        assert shown.returncode == 0, shown.stderr
        return shown.stdout + shown.stderr

    return run


def test_a_clean_checkout_plans_the_demo(plan):
    assert re.search(r"^edit +6$", plan("--quiet", "rules"), re.MULTILINE)


def test_the_command_line_overrides_keys_within_lists_and_mappings(plan):
    """Snakemake itself reads lists and mappings of `--config` as text."""
    shown = plan(
        "--quiet", "rules", "--config", "seeds=[0, 1]", "edits={total: 20, tasks_every: 20}"
    )
    assert re.search(r"^edit +6$", shown, re.MULTILINE)  # 3 methods, 2 seeds, 1 checkpoint
    assert re.search(r"^requests +2$", shown, re.MULTILINE)


def test_another_source_of_an_overlay_keeps_nothing_of_the_first(plan, tmp_path):
    (tmp_path / "hub.yaml").write_text(
        "corpus: {source: {hub: a/b, subset: s, revision: '1'}}\n"
        "datasets: {facts: {source: {hub: a/b, subset: s, revision: '1'}, part: all}}\n"
    )
    (tmp_path / "other.yaml").write_text(
        "corpus: {source: {file: hub.yaml}}\n"
        "datasets: {facts: {source: {hub: c/d, revision: '2'}}}\n"
    )
    shown = plan("-p", "--configfile", "config/demo.yaml", "hub.yaml", "other.yaml")
    assert '--source \'{"hub": "c/d", "revision": "2"}\'' in shown
    assert '"source": {"file": "hub.yaml"}' in shown


@pytest.mark.parametrize("option", ["--profile", "--workflow-profile"])
def test_a_site_overrides_what_is_counted(plan, option):
    """`--workflow-profile` takes the place of profiles/default, `--profile` adds to it."""
    shown = plan(
        option, str(ROOT / "profiles" / "slurm"), "--configfile", "config/demo.yaml",
        "--set-resources", "edit:mem_mb=12345", "edit:runtime=77",
    )  # fmt: skip
    asked = [
        line.strip()
        for rule, line in re.findall(r"^rule (\w+):\n(?:.*\n)*?(    resources: .*)$", shown, re.M)
        if rule == "edit"
    ]
    assert len(asked) == 6
    for line in asked:
        assert "mem_mb=12345," in line
        assert "runtime=77," in line
