"""Real workflows to be disturbed: started, killed, and read by what they said they finished."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from project import METHODS, ROOT, Project


@dataclass(frozen=True)
class Ended:
    """Exit status and output of a workflow that has ended."""

    status: int
    said: str

    def jobs(self, event: str) -> list[str]:
        """The log files, by which jobs have names, of jobs "begun" or "finished"."""
        found = re.findall(r"\n    log: (\S+)\n    jobid: (\d+)", self.said)
        names = {number: log for log, number in found}
        if event == "begun":
            return list(names.values())
        ended = re.findall(r"^Finished jobid: (\d+)", self.said, re.MULTILINE)
        return [names[number] for number in ended if number in names]


class Flow:
    """A workflow that has been started: Snakemake, its shells and jobs in one process group."""

    def __init__(self, project: Project, *arguments: str, **changed: object):
        self.jobs = project.jobs
        self.output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (end closes it)
        self.process = subprocess.Popen(
            project.command(*arguments, **changed),
            cwd=project.folder,
            env=project.jobs.environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill(self, after: float) -> Ended:
        """SIGKILL everything, jobs included, after some seconds, unless it has ended by then."""
        begun = time.monotonic()
        while self.process.poll() is None and time.monotonic() - begun < after:
            time.sleep(0.01)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.end()

    def end(self, timeout: float = 400) -> Ended:
        """Wait for it and its jobs."""
        status = self.process.wait(timeout)
        self.jobs.settle()
        with self.output:
            self.output.seek(0)
            return Ended(status, self.output.read())


TABLES = "results/small/summary.csv"
METHODS_FOLDER = Path("results/small/tiny/capitals")


def run(project: Project, *arguments: str, **changed: object) -> Ended:
    """A workflow that is left to its end: with its tables, unless arguments name other files.

    Figures take as long as all the rest and add nothing to what is compared.
    """
    done = project.run(*(arguments or ("--", TABLES)), **changed)
    project.jobs.settle()
    return Ended(done.returncode, done.stderr + done.stdout)


def without_last_segment(whole: Project, folder: Path) -> Project:
    """A copy of a finished project, whose last checkpoints and all that follows are to be made."""
    project = whole.copy(folder)
    for path in [
        *(folder / METHODS_FOLDER).glob("m*/seed0/*4.*"),
        *folder.glob("results/small/*.*"),
    ]:
        path.unlink()
    shutil.rmtree(folder / "results/small/figures")
    return project


def stop_edits(project: Project) -> dict[str, int]:
    """SIGSTOP to the jobs that make the last checkpoints, once they have written a batch; their
    process ids by method."""
    stopped: dict[str, int] = {}
    deadline = time.monotonic() + 200
    while len(stopped) < len(METHODS):
        assert time.monotonic() < deadline, "the jobs do not come"
        for method in METHODS.keys() - stopped.keys():
            checkpoint = METHODS_FOLDER / method / "seed0/edits4.h5"
            program = str(ROOT / "scripts/edit.py")
            process = project.jobs.find(program, str(checkpoint))
            log = project.folder / f"results/logs/edit/small.tiny.capitals.{method}.0.4.log"
            if process is not None and "edits: mean loss" in log.read_text():
                os.kill(process, signal.SIGSTOP)
                stopped[method] = process
        time.sleep(0.005)
    return stopped


def unlock(project: Project) -> None:
    """What `snakemake --unlock` does, without another start."""
    shutil.rmtree(project.folder / ".snakemake" / "locks", ignore_errors=True)


def tables(project: Project) -> dict[str, object]:
    """Everything that is shown and what it is made from, by name, without seconds."""
    return {**project.results("**/*.csv"), **project.results("summary.t*")}


def leftovers(folder: Path) -> list[Path]:
    """Temporary files under a folder's results."""
    return sorted((folder / "results").rglob(".*.tmp"))
