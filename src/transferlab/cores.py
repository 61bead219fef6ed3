"""The processor's cores."""

import os


def usable_cores() -> int:
    """How many this process may use."""
    # macOS and Windows bind no process to cores
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(share: int) -> str:
    """Threads of a process that has a share of the cores, as OMP_NUM_THREADS: fewer where the user says so."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, share)
    return str(min(int(given), share) if given.isdigit() and int(given) else share)
