"""Which jobs of a cluster have ended. Slurm's queue is asked, as not every cluster has accounting. No torch."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_GONE = "GONE"
"""The state of a job that the queue has forgotten."""
_OVER = frozenset(
    {_GONE, "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}
)


def ended(sent: Sequence[Any], cluster: str, pause: float) -> Iterator[Any]:
    """Jobs, as they end.

    Args:
        sent: by submitit.
        cluster: as submitit calls it.
        pause: seconds between two looks.
    """
    left, over = list(sent), set[str]()
    while left:
        before, over = over, _over(left) if cluster == "slurm" else {job.job_id for job in left if job.done()}
        for job in [job for job in left if has_left_word(job) or job.job_id in before & over]:
            left.remove(job)
            yield job
        if left:
            time.sleep(pause)


def has_left_word(job: Any) -> bool:
    """Whether a job, or the first of its tasks, has written what became of it; a shared file system may be late."""
    file = job.task(0).paths.result_pickle
    with suppress(OSError):
        file.parent.chmod(file.parent.stat().st_mode)  # has the file system look again
    return bool(file.exists())


def _over(jobs: Sequence[Any]) -> set[str]:
    """Which jobs Slurm will not do again; none where it does not answer."""
    arrays = sorted({job.job_id.partition("_")[0] for job in jobs})
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={','.join(arrays)}"]
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return set()
    states = dict(line.split() for line in asked.stdout.splitlines())
    return {job.job_id for job in jobs if states.get(job.job_id, _GONE) in _OVER}
