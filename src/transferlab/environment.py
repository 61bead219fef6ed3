"""The machine and the versions that a run had, and the noise it should not make."""

import logging
import os
import platform
import re
import resource
import subprocess
import sys
import warnings
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from transferlab import runtime

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PACKAGES = ("transferlab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "wandb", "numpy")


def environment(accelerator: str) -> dict[str, Any]:
    """Versions, commit, machine, threads and device, for the record; the peak of memory is counted from here on."""
    runtime.give_back()  # what earlier runs of the process freed is none of this one's
    with suppress(OSError):
        _CLEAR.write_text("5")  # Linux: the peak of the process starts again from what it holds now
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": _commit(_here()),
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
    }


def peak_memory() -> int:
    """The most memory held so far, in bytes: by this run on a GPU where it used one, else by the process on the CPU.

    The process counts with its libraries. On Linux it counts from the run's start, elsewhere from its own, so that in a
    sweep it is the most of all runs so far.
    """
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return int(used)
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text()):
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def quiet() -> None:
    """Keep to ourselves what Lightning tells everybody at every run."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    # on a machine of a cluster: a run of one process needs no srun, and one of several is not begun without
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    # of a kernel with one channel, whose layout has two names; it is copied
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _here() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # removed under the process
        return None


@cache
def _commit(folder: str | None) -> str | None:
    """The commit checked out in a folder, if it is one, when the process asked first; with `+` where files differ."""
    if folder is None:
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
            cwd=folder,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
