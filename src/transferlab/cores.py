"""The processor's cores."""

import os


def usable_cores() -> int:
    """How many this process may use."""
    # macOS and Windows bind no process to cores
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
