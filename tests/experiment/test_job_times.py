"""What ran and for how long, from files as Snakemake writes them."""

import pytest

from mose.experiment import job_times
from mose.experiment.paths import BENCHMARKS

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
KNOWN = {
    "experiment": ["a"], "model": ["m"], "dataset": ["d"], "method": ["memit"], "seed": [0],
    "n": [2, 4], "corpus": ["sampled"], "targets": ["layer8-01234567"],
}  # fmt: skip


@pytest.fixture
def ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, seconds, memory="100.0"):
        path = tmp_path / BENCHMARKS / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t0\t0\t1\t1\n")

    return write


def test_jobs_of_a_stage_are_added_and_others_do_not_count(ran):
    ran("edit/a.m.d.memit.0.2", 10)
    ran("edit/a.m.d.memit.0.4", 30.5, "250.0")
    ran("edit/a.m.d.memit.0.6", 1000)  # of an earlier, longer run
    ran("edit/a.b.m.d.memit.0.2", 1000)  # of the experiment a.b
    ran("measure/a.m.d.memit.0.2", 3)
    ran("measure/a.m.d.unedited.0.2", 5)
    ran("moments/m.sampled.1-2.0", 7)
    ran("moments/m.sampled.1-2.1", 7)
    ran("moments/m.sampled.1-2", 1)
    ran("moments/m.other.1-2.0", 1000)
    table = job_times.job_times(KNOWN)
    assert list(table.itertuples(index=False, name=None)) == [
        ("second_moments", 2, 14.0, 7.0, 100.0),
        ("add_second_moments", 1, 1.0, 1.0, 100.0),
        ("edit", 2, 40.5, 30.5, 250.0),
        ("measure", 1, 3.0, 3.0, 100.0),
        ("measure_unedited", 1, 5.0, 5.0, 100.0),
    ]


def test_seconds_an_edit_of_two_seeds_are_told_by_method(ran):
    known = {**KNOWN, "seed": [0, 1], "method": ["memit", "mose"]}
    for seed in (0, 1):
        ran(f"edit/a.m.d.memit.{seed}.2", 10)
        ran(f"edit/a.m.d.memit.{seed}.4", 30)
        ran(f"edit/a.m.d.mose.{seed}.4", 8)
        ran(f"measure/a.m.d.mose.{seed}.4", 4)
        ran(f"measure/a.m.d.unedited.{seed}.4", 1000)
        ran(f"targets/a.m.d.layer8-01234567.{seed}.4", 16)
    ran("targets/b.m.d.layer8-01234567.0.4", 1000)  # of another experiment
    ran("targets/a.m.d.layer8-76543210.0.4", 1000)  # of options that no method has any more
    table = job_times.per_edit(known, 4, {})
    assert list(table.itertuples(index=False, name=None)) == [
        ("shared", "targets", 4.0),
        ("memit", "edit", 10.0),
        ("mose", "edit", 2.0),
        ("mose", "measure", 1.0),
    ]


def test_a_job_too_short_to_be_measured_counts(ran):
    """Snakemake then writes "-" or "NA" for the memory."""
    ran("model/m", 0.4, "NA")
    ran("facts/a.m.d", 0.2, "-")
    table = job_times.job_times(KNOWN)
    assert list(table["seconds"]) == [0.4, 0.2]
    assert table["memory_mb"].isna().all()


def test_a_method_that_stopped_earlier_counts_its_own_edits(ran):
    known = {**KNOWN, "method": ["memit", "mose"]}
    ran("edit/a.m.d.memit.0.2", 10)
    ran("edit/a.m.d.memit.0.4", 30)
    ran("edit/a.m.d.mose.0.2", 8)
    table = job_times.per_edit(known, 4, {"mose": 2})
    assert table["seconds"].tolist() == [10.0, 4.0]


def test_nothing_ran(ran):
    assert job_times.job_times(KNOWN).empty
    assert job_times.per_edit(KNOWN, 4, {}).empty
