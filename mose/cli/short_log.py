"""The short log of a run, for `mose run`: progress, failures, the summary, and no more.

A handler of Snakemake's log records (its interface of logger plugins). Snakemake's own log, in
.snakemake/log, has the rest.
"""

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Messages of Snakemake that a person needs, by their beginnings. Warnings and errors are shown in
# any case.
NEEDED = (
    "Complete log(s)", "Nothing to be done", "Terminating processes", "Trying to restart job",
    "Unlocked working directory", "Will exit after finishing",
)  # fmt: skip
# Errors beside the one that names the job's rule and log.
COMMAND_FAILED = "RuleException:\nCalledProcessError in file"
JOBS_FAILED = "Exiting because a job", "WorkflowError:\nAt least one job did not complete"
# What surrounds a refusal: WorkflowError in file "...", line 41:, and the lines of the stack.
AROUND = re.compile(r"\AWorkflowError(?: in .*)?:\n(?:error: )?|(?:\n  File \".*\", line .*)+\Z")
AGAIN = "mend what they say and run the same command again: what is finished is kept"
PLAIN_LINES = 20  # at most about as many lines of progress, and one per finished stage


class LogHandler(LogHandlerBase):
    """Shows a run: a bar on a terminal, a line now and then elsewhere."""

    def __post_init__(self) -> None:
        self.begun = time.monotonic()
        # By stage, which is a rule: jobs of the run, and how many are finished.
        self.total: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self.stage_of: dict[int, str] = {}
        self.stages_begun: set[str] = set()
        # By job: expected seconds, of which only the proportions count.
        self.seconds: Mapping[int, float] = {}
        self.seconds_done = 0.0
        self.failed: set[int] = set()
        self.lines = 0
        self.bar = Bar(self._progress) if sys.stderr.isatty() else None

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, if it is one to show."""
        kinds: dict[Any, Callable[[logging.LogRecord], None]] = {
            LogEvent.RUN_INFO: self._run_info,
            LogEvent.JOB_INFO: self._job_info,
            LogEvent.JOB_FINISHED: self._job_finished,
            LogEvent.JOB_ERROR: self._job_error,
        }
        try:
            kinds.get(getattr(record, "event", None), self._other)(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()
        super().close()

    def _run_info(self, record: logging.LogRecord) -> None:
        if self.total:  # a dry run says it twice
            return
        stats = dict(_of(record, "stats"))
        stats.pop("total", None)
        self.total = stats
        if self.common_settings.dryrun:
            self._print(record.getMessage().strip())
        elif self.bar is not None:
            self.bar.start()

    def _job_info(self, record: logging.LogRecord) -> None:
        stage = self.stage_of[_of(record, "jobid")] = _of(record, "rule_name")
        self.stages_begun.add(stage)

    def _job_finished(self, record: logging.LogRecord) -> None:
        job = _of(record, "job_id")
        stage = self.stage_of.get(job, "")
        self.done[stage] += 1
        self.seconds_done += self.seconds.get(job, 0.0)
        done, total = self.done.total(), sum(self.total.values())
        if self.bar is not None:
            self.bar.show(done, total)
        elif done * PLAIN_LINES >= total * (self.lines + 1) or self._is_complete(stage):
            self.lines = done * PLAIN_LINES // total
            self._print(self._progress())

    def _job_error(self, record: logging.LogRecord) -> None:
        self.failed.add(_of(record, "jobid"))
        logs = _of(record, "log")
        path, line = last_line(logs)
        # What a cluster says, such as that memory or time ran out, and what the program said.
        said = [_of(record, "rule_msg"), line]
        reason = "; ".join(filter(None, said)) or "it said nothing"
        self._print(f"failed: {_of(record, 'rule_name')}: {reason}")
        if path or logs:
            self._print(f"  log: {path or logs[0]}")

    def _other(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        seconds = getattr(record, "seconds", None)
        if seconds is not None:
            self.seconds = seconds
        if message.startswith(COMMAND_FAILED):
            return
        if self.failed and message.startswith(JOBS_FAILED):
            if message.startswith(JOBS_FAILED[0]):
                self._print(f"{len(self.failed)} jobs failed; {AGAIN}")
        elif record.levelno >= logging.ERROR:
            self._print(_refusal(message))
        elif record.levelno >= logging.WARNING or getattr(record, "to_show", False):
            self._print(message)
        elif message.startswith(NEEDED):
            self._print(message.splitlines()[0])

    def _is_complete(self, stage: str) -> bool:
        return self.done[stage] >= self.total.get(stage, 0)

    def _progress(self) -> str:
        """Jobs done, time so far and left, and the stages that have begun and are not complete.

        Called by the bar's thread as well.
        """
        spent = time.monotonic() - self.begun
        parts = [f"{self.done.total()}/{sum(self.total.values())} jobs, {_duration(spent)}"]
        left = sum(self.seconds.values()) - self.seconds_done
        if self.seconds_done and left > 0:
            parts.append(f", about {_duration(spent * left / self.seconds_done)} left")
        begun = [
            f"{stage} {self.done[stage]}/{total}"
            for stage, total in self.total.items()
            if stage in self.stages_begun and not self._is_complete(stage)
        ]
        return "".join([*parts, f": {', '.join(begun)}" if begun else ""])

    def _print(self, text: str) -> None:
        if self.bar is not None:
            self.bar.print(text)
        else:
            print(text, file=sys.stderr, flush=True)


def last_line(logs: list[str]) -> tuple[str, str]:
    """The first of the logs that says anything, and its last line; empty if none does."""
    for path in logs:
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if said:
            return path, said
    return "", ""


class Bar:
    """A bar below what is printed; it disappears at the end."""

    def __init__(self, text: Callable[[], str]) -> None:
        """text: what stands beside the bar, asked for twice a second."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task
        from rich.text import Text

        class Beside(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(text())

        console = Console(stderr=True, markup=False, highlight=False)
        self.progress = Progress(
            BarColumn(20), Beside(), console=console, transient=True, refresh_per_second=2
        )
        self.task = self.progress.add_task("", total=None)

    def start(self) -> None:
        self.progress.start()

    def show(self, done: int, total: int) -> None:
        self.progress.update(self.task, completed=done, total=total)

    def print(self, text: str) -> None:
        self.progress.console.print(text, soft_wrap=True)

    def stop(self) -> None:
        self.progress.stop()


def _refusal(message: str) -> str:
    """An error as one line, if it is a refusal of the workflow; any other as it is."""
    return f"error: {AROUND.sub('', message)}" if message.startswith("WorkflowError") else message


def _of(record: logging.LogRecord, name: str) -> Any:
    """What Snakemake adds to a record."""
    return record.__dict__[name]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
