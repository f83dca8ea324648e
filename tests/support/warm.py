"""Programs in processes that have the libraries loaded: Snakemake and its jobs in an eighth of
the time.

Snakemake, its shells and its jobs are real processes, each with its own files, folder and
environment; only `python`, which starts them, is a small program (job.py) that has `chain.SERVER`
fork them off. When it is killed, the job is killed.
"""

import atexit
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path

import chain

JOB = Path(__file__).with_name("job.py")


class Jobs:
    """Starts what job.py asks for, each in a process of its own, until it is closed."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        address = f"{self.folder.name}/jobs"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.threads: set[threading.Thread] = set()
        self.processes: dict[int, list[str]] = {}  # commands by process id
        # `start` also asks whether earlier processes have ended. If that reads a status which
        # another thread's `join` reads, the second one finds none and reports 255.
        self.reading = threading.Lock()
        # What stands in place of `python`.
        self.python = [sys.executable, "-I", "-S", str(JOB), address]
        # A function that is exported to Bash comes before every program of its name.
        self.environment = {
            **os.environ,
            "BASH_FUNC_python%%": f'() {{ {shlex.join(self.python)} "$@"; }}',
        }
        threading.Thread(target=self._serve, daemon=True).start()

    def run(
        self, command: Sequence[str], folder: Path, timeout: float = 400
    ) -> subprocess.CompletedProcess[str]:
        """Run `python` with a command in a folder, to its end."""
        return subprocess.run(
            [*self.python, *command],
            cwd=folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def close(self) -> None:
        """Start nothing more, and leave nothing."""
        self.listener.close()
        for number in list(self.processes):
            os.kill(number, signal.SIGKILL)
        self.folder.cleanup()

    def settle(self) -> None:
        """Wait until every job has ended."""
        for thread in list(self.threads):
            thread.join(60)
            assert not thread.is_alive(), "a job does not end"

    def find(self, *words: str) -> int | None:
        """The process id of a job that runs now and has all these words in its command."""
        for number, command in list(self.processes.items()):
            if all(word in command for word in words):
                return number
        return None

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            thread = threading.Thread(target=self._attend, args=(client,), daemon=True)
            self.threads.add(thread)
            thread.start()

    def _attend(self, client: socket.socket) -> None:
        with client:
            _, descriptors, _, _ = socket.recv_fds(client, 1, 3)
            files = [Connection(d) for d in descriptors]
            said = b""
            while not said.endswith(b"\n") and (more := client.recv(1 << 16)):
                said += more
            if said.endswith(b"\n"):
                folder, command, environment = json.loads(said)
                process = chain.SERVER.Process(
                    target=_job, args=(folder, command, environment, files)
                )
                with self.reading:
                    process.start()
                for file in files:
                    file.close()
                assert process.pid is not None
                self.processes[process.pid] = command
                # The client says no more: what can be read is its end.
                if process.sentinel not in wait([process.sentinel, client]):
                    process.kill()
                    wait([process.sentinel])
                with self.reading:
                    process.join()
                del self.processes[process.pid]
                with suppress(OSError):  # the client may be gone
                    client.sendall(str(process.exitcode % 256).encode())
        self.threads.discard(threading.current_thread())


@cache
def jobs() -> Jobs:
    """What runs the jobs of this process's tests, until it ends."""
    running = Jobs()
    atexit.register(running.close)
    return running


def _job(
    folder: str, command: list[str], environment: dict[str, str], files: list[Connection]
) -> None:
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path.insert(0, folder)
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
