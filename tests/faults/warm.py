"""Jobs of a workflow in processes that have the libraries loaded: an eighth of the time.

Snakemake itself, its shell and its jobs are real processes; only `python`, which the shell calls,
is a small one (job.py) that has `chain.SERVER` start the job with its own files, folder and
environment. When it is killed, the job is killed.
"""

import json
import os
import runpy
import shlex
import signal
import socket
import sys
import tempfile
import threading
from contextlib import suppress
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
        # A function that is exported to Bash comes before every program of its name.
        call = shlex.join([sys.executable, "-I", "-S", str(JOB), address])
        self.environment = {**os.environ, "BASH_FUNC_python%%": f'() {{ {call} "$@"; }}'}
        threading.Thread(target=self._serve, daemon=True).start()

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
                process.start()
                for file in files:
                    file.close()
                assert process.pid is not None
                self.processes[process.pid] = command
                # The client says no more: what can be read is its end.
                if process.sentinel not in wait([process.sentinel, client]):
                    process.kill()
                process.join()
                del self.processes[process.pid]
                with suppress(OSError):  # the client may be gone
                    client.sendall(str(process.exitcode % 256).encode())
        self.threads.discard(threading.current_thread())


def _job(
    folder: str, command: list[str], environment: dict[str, str], files: list[Connection]
) -> None:
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
