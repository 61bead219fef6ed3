"""Who is killed: the command, a process that it started, a job of Slurm."""

import json
import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

# by launcher: what is killed, and how often beside the others
KINDS = {
    "joblib": {"worker": 3, "parent": 1},
    "ray": {"worker": 3, "parent": 1},
    "slurm": {"worker": 1, "job": 1, "requeue": 1, "parent": 1},
}
# a word by which processes that do runs are known
_WORKER = {"joblib": "spawn_main", "ray": "ray::transferlab", "slurm": "submitit.core._submit"}
_SQUEUE = ("squeue", "-h", "-n", "faults")


class Victims:
    """Processes and jobs of a study's command.

    Attributes:
        launcher: whose.
        place: the command's folder.
    """

    def __init__(self, launcher: str, place: Path) -> None:
        self.launcher, self.place = launcher, place

    def killed(self, kind: str, command: subprocess.Popen, draw: random.Random) -> int | None:
        """Kill one of a kind; the number of runs that were under way in it, or None where there is none to kill."""
        doing = self._doing()
        if kind == "parent":
            command.kill()
            return 0 if self.launcher == "slurm" else len(doing)
        if kind == "worker":
            there = sorted(one.pid for one in self._processes() if _WORKER[self.launcher] in _words(one))
            if not there:
                return None
            pid = draw.choice(there)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return int(pid in doing)
        listed = subprocess.run([*_SQUEUE, "-t", "RUNNING", "-o", "%A"], capture_output=True, text=True).stdout.split()
        if not listed:
            return None
        job = draw.choice(sorted(listed))
        running = sum(_job(pid) == job for pid in doing)
        sent = ["scancel", "--signal=KILL", job] if kind == "job" else ["scontrol", "requeue", job]
        return None if subprocess.run(sent, capture_output=True).returncode else running

    def left(self) -> set[tuple[int, float]]:
        """All that is there, when nothing should be: processes, by pid and birth, and jobs, which have none."""
        jobs = (
            subprocess.run([*_SQUEUE, "-o", "%A"], capture_output=True, text=True).stdout.split() if self._slurm else []
        )
        return {(one.pid, one.create_time()) for one in self._processes()} | {(int(job), 0.0) for job in jobs}

    def strays(self, command: int) -> set[tuple[int, float]]:
        """What does not descend from a living command."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(command)
            own = {command, *(one.pid for one in root.children(recursive=True))}
            return {one for one in self.left() if one[0] not in own}
        return set()

    @property
    def _slurm(self) -> bool:
        return self.launcher == "slurm"

    def _processes(self) -> list[psutil.Process]:
        """Those that live in the command's folder."""
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if one.status() != psutil.STATUS_ZOMBIE and Path(one.cwd()).is_relative_to(self.place):
                    found.append(one)
        return found

    def _doing(self) -> set[int]:
        """Processes that do a run, by their signs of life."""
        found = set()
        for sign in self.place.glob("runs/*/*/.alive"):
            with suppress(OSError, ValueError):
                found.add(int(json.loads(sign.read_bytes())["pid"]))
        return {pid for pid in found if psutil.pid_exists(pid)}


def _words(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _job(pid: int) -> str:
    with suppress(psutil.Error):
        return psutil.Process(pid).environ().get("SLURM_JOB_ID", "")
    return ""
