"""Who is killed: the command, a process that it started, a job of Slurm."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
from schedule import Kill

# by launcher: what is killed, and how often beside the others
KINDS = {
    "joblib": {"worker": 3, "parent": 1},
    "ray": {"worker": 3, "parent": 1},
    "slurm": {"worker": 1, "job": 1, "requeue": 1, "parent": 1},
}
DYING = 15.0
"""Seconds within which nothing is killed again: it may still be listed."""
# a word by which processes that do runs are known
_WORKER = {"joblib": "spawn_main", "ray": "ray::transferlab", "slurm": "submitit.core._submit"}


class Victims:
    """Processes and jobs of a study's command.

    Attributes:
        launcher: whose.
        place: the command's folder.
    """

    def __init__(self, launcher: str, place: Path) -> None:
        self.launcher, self.place = launcher, place
        self._dying: dict[int, float] = {}

    def killed(self, kill: Kill, command: subprocess.Popen, draw: random.Random) -> int | None:
        """Carry out a kill; how many runs were under way in its victim, or None where there is none to kill."""
        there = self._there(kill.kind, command.pid)
        now = time.monotonic()
        living = {one: doing for one, doing in there.items() if now - self._dying.get(one, -DYING) >= DYING}
        hit = {one: doing for one, doing in living.items() if doing or not kill.doing}
        if not hit:
            return None
        victim = draw.choice(sorted(hit))
        self._dying[victim] = now
        if kill.kind in ("job", "requeue"):
            sent = ["scancel", "--signal=KILL"] if kill.kind == "job" else ["scontrol", "requeue"]
            return None if subprocess.run([*sent, str(victim)], capture_output=True).returncode else hit[victim]
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return 0 if (self.launcher, kill.kind) == ("slurm", "parent") else hit[victim]  # whose jobs go on

    def _there(self, kind: str, command: int) -> dict[int, int]:
        """Who can be killed: processes or jobs by their numbers, with how many runs each does."""
        doing = self._doing()
        if kind == "parent":
            return {command: len(doing)}
        if kind == "worker":
            word = _WORKER[self.launcher]
            return {one.pid: int(one.pid in doing) for one in self._processes() if word in _words(one)}
        jobs = [_job(pid) for pid in doing]
        return {job: jobs.count(job) for job in _listed("-t", "RUNNING")}

    def left(self) -> set[tuple[int, float]]:
        """All that is there, when nothing should be: processes, by pid and birth, and jobs, which have none."""
        jobs = _listed() if self.launcher == "slurm" else []
        return {(one.pid, one.create_time()) for one in self._processes()} | {(job, 0.0) for job in jobs}

    def strays(self, command: int) -> set[tuple[int, float]]:
        """What does not descend from a living command."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(command)
            own = {command, *(one.pid for one in root.children(recursive=True))}
            return {one for one in self.left() if one[0] not in own}
        return set()

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


def _job(pid: int) -> int:
    with suppress(psutil.Error, ValueError):
        return int(psutil.Process(pid).environ().get("SLURM_JOB_ID", ""))
    return 0


def _listed(*which: str) -> list[int]:
    """Jobs of the study that Slurm knows."""
    asked = ["squeue", "-h", "-n", "faults", "-o", "%A", *which]
    return [int(job) for job in subprocess.run(asked, capture_output=True, text=True).stdout.split()]
