"""The short log: what Snakemake's records become, with and without a terminal."""

import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from mose.cli import short_log


class Terminal(io.StringIO):
    def isatty(self):
        return True


def handler(dryrun=False):
    return short_log.LogHandler(SimpleNamespace(dryrun=dryrun), None)


def record(message=None, level=logging.INFO, **more):
    made = logging.LogRecord("snakemake.logging", level, "", 0, message, (), None)
    made.__dict__.update(more)
    return made


def run_of(log, jobs, stages=1):
    """A run of as many jobs, all begun and finished, in `stages` of the same size."""
    stats = {f"stage{i}": jobs // stages for i in range(stages)}
    log.emit(record("table", event=LogEvent.RUN_INFO, stats={**stats, "total": jobs}))
    log.emit(record("needs", to_show=True, seconds=dict.fromkeys(range(jobs), 10.0)))
    for job in range(jobs):
        stage = f"stage{job * stages // jobs}"
        log.emit(record("Rule: it", event=LogEvent.JOB_INFO, jobid=job, rule_name=stage))
        log.emit(record("Shell command: it", event=LogEvent.SHELLCMD, shellcmd="it"))
        log.emit(record("Finished", event=LogEvent.JOB_FINISHED, job_id=job))
        log.emit(record(event=LogEvent.PROGRESS, done=job + 1, total=jobs))
    log.close()


def failure(path, **more):
    told = {"rule_msg": None, "rule_name": "edit", "jobid": 3, "log": [str(path)], **more}
    return record("Error in rule edit", logging.ERROR, event=LogEvent.JOB_ERROR, **told)


def test_snakemake_finds_the_plugin_by_its_name():
    assert LoggerPluginRegistry().get_plugin("mose").log_handler is short_log.LogHandler


@pytest.mark.parametrize("jobs", [2, 30, 6000])
def test_progress_without_a_terminal_is_few_plain_lines(jobs, capsys):
    run_of(handler(), jobs, stages=2)
    out, said = capsys.readouterr()
    lines = said.splitlines()
    assert (out, lines[0]) == ("", "needs")
    assert 2 <= len(lines[1:]) <= short_log.PLAIN_LINES + 2
    assert lines[-1].startswith(f"{jobs}/{jobs} jobs, ")
    assert "left" not in lines[-1]
    assert "\x1b" not in said
    assert all(re.match(r"\d+/\d+ jobs, \d+ s", line) for line in lines[1:])


def test_progress_names_the_stages_under_way_and_the_time_left(capsys, monkeypatch):
    clock = iter([0, *[60] * 9])
    monkeypatch.setattr(short_log.time, "monotonic", lambda: next(clock))
    log = handler()
    stats = {"edit": 2, "measure": 2, "total": 4}
    log.emit(record("table", event=LogEvent.RUN_INFO, stats=stats))
    log.emit(record("needs", to_show=True, seconds={0: 10.0, 1: 10.0, 2: 10.0, 3: 10.0}))
    for job in (0, 1):
        log.emit(record("", event=LogEvent.JOB_INFO, jobid=job, rule_name="edit"))
    log.emit(record("", event=LogEvent.JOB_FINISHED, job_id=0))
    assert capsys.readouterr().err == "needs\n1/4 jobs, 60 s, about 3 min left: edit 1/2\n"


def test_a_terminal_gets_a_bar_that_goes_away_and_whole_messages(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    log = handler()
    log.emit(record("x" * 300, to_show=True))
    run_of(log, 2)
    said = terminal.getvalue()
    assert f"{'x' * 300}\n" in said
    assert "2/2 jobs" in said
    assert said.endswith("\x1b[2K"), "the line of the bar is emptied at the end"


def test_a_failed_job_is_its_rule_its_last_line_and_its_log(tmp_path, capsys):
    path = tmp_path / "edit.log"
    path.write_text("12:00:00 begun\nerror: no space left\n\n")
    handler().emit(failure(path))
    assert capsys.readouterr().err == f"failed: edit: error: no space left\n  log: {path}\n"
    # A job that a cluster killed: its own log is empty, Slurm's is not.
    path.write_text("")
    slurm = tmp_path / "slurm.log"
    slurm.write_text("oom_kill event\n")
    status = "SLURM status is: 'OUT_OF_MEMORY'"
    handler().emit(failure(path, rule_msg=status, log=[str(path), str(slurm)]))
    assert capsys.readouterr().err == f"failed: edit: {status}; oom_kill event\n  log: {slurm}\n"
    handler().emit(failure(tmp_path / "gone.log"))
    expected = f"failed: edit: it said nothing\n  log: {tmp_path / 'gone.log'}\n"
    assert capsys.readouterr().err == expected


def test_no_error_is_hidden(capsys):
    log = handler()
    final = "Exiting because a job execution failed. Look above for error messages"
    log.emit(record(final, logging.ERROR))
    assert capsys.readouterr().err == f"{final}\n", "no failed job was shown before"
    log.emit(failure("gone.log"))
    log.emit(record(final, logging.ERROR))
    assert capsys.readouterr().err.endswith(f"1 jobs failed; {short_log.AGAIN}\n")
    for message in ("NameError in file Snakefile, line 3:\nname 'x'", "LockException:\nlocked"):
        log.emit(record(message, logging.ERROR, event=LogEvent.ERROR))
        assert capsys.readouterr().err == f"{message}\n"
    log.emit(record("a warning", logging.WARNING))
    assert capsys.readouterr().err == "a warning\n"
    log.emit(record("Using shell: /usr/bin/bash"))
    assert capsys.readouterr().err == ""


def test_a_refusal_is_one_line(capsys):
    message = (
        'WorkflowError in file "/x/workflow/rules/common.smk", line 41:\nconfig: edits: wrong\n'
        '  File "/x/workflow/rules/common.smk", line 47, in <module>'
    )
    handler().emit(record(message, logging.ERROR, event=LogEvent.ERROR))
    assert capsys.readouterr().err == "error: config: edits: wrong\n"


def test_a_dry_run_shows_the_table_of_jobs_once(capsys):
    log = handler(dryrun=True)
    for _ in range(2):
        log.emit(record("Job stats:\nedit 2\n", event=LogEvent.RUN_INFO, stats={"edit": 2}))
    log.emit(record("", event=LogEvent.JOB_INFO, jobid=1, rule_name="edit"))
    assert capsys.readouterr().err == "Job stats:\nedit 2\n"
