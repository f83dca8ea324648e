"""A Slurm cluster of one node in a folder of its own, for tests: real daemons, any user."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")


def missing():
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_ports(count):
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Node:
    """Starts the two daemons when entered, and stops them with all jobs when left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.daemons: list[subprocess.Popen] = []
        # Slurm's own variables are dropped before a job starts its steps: srun must find the
        # configuration by itself.
        bin_folder = folder / "bin"
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.conf),
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        }

    def __enter__(self) -> "Node":
        self._configure()
        host = socket.gethostname().split(".")[0]
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", host)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.ask("sinfo", "--noheader", "--format=%t").strip() == "idle":
                return self
            time.sleep(0.2)
        logs = "".join(path.read_text() for path in self.folder.glob("*.log"))
        self.__exit__()
        raise RuntimeError(f"the Slurm node did not become idle:\n{logs[-3000:]}")

    def __exit__(self, *_: object) -> None:
        self.ask("scancel", f"--user={getpass.getuser()}")
        end = time.monotonic() + 10
        while self.ask("squeue", "--noheader").strip() and time.monotonic() < end:
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def ask(self, *command: str) -> str:
        """What a Slurm command prints; nothing where it fails."""
        run = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=20
        )
        return run.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job that was submitted, finished ones too: Slurm's own record of it."""
        shown = self.ask("scontrol", "show", "jobs", "--oneliner")
        return [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in shown.splitlines()
            if line.startswith("JobId=")
        ]

    def _start(self, program: str, *options: str) -> None:
        with (self.folder / f"{program}.out.log").open("w") as out:
            self.daemons.append(
                subprocess.Popen(
                    [program, *options, "-f", str(self.conf)],
                    env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )
            )  # fmt: skip

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        user = getpass.getuser()
        memory = psutil.virtual_memory().total // 2**20 * 9 // 10
        controller, daemon = free_ports(2)
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir(parents=True)
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(
            f'#!/bin/sh\nexport SLURM_CONF="{self.conf}"\nexec "{shutil.which("srun")}" "$@"\n'
        )
        wrapper.chmod(0o755)
        settings = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/none",
            "CredType": "cred/none",
            "SlurmctldPort": controller,
            "SlurmdPort": daemon,
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd.log",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            # Control groups are absent or read-only in most containers.
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            # A job over its memory is found by looking, once a second.
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",
            # Without a database, squeue is what knows of finished jobs.
            "AccountingStorageType": "accounting_storage/none",
            "MinJobAge": 600,
            "ReturnToService": 2,
            "KillWait": 2,
            "SlurmdParameters": "config_overrides",
        }
        lines = [f"{key}={value}" for key, value in settings.items()]
        # More processors than there are: starting up is most of what small jobs do.
        lines += [
            f"NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory={memory} State=UNKNOWN",
            f"PartitionName=test Nodes={host} Default=YES MaxTime=01:00:00 State=UP",
        ]
        self.conf.write_text("\n".join(lines) + "\n")
