"""Time of this process without its imports, which happen once whatever it does then.

Seconds are the processor's, the kernel's included, which do not grow when somebody else uses the machine; or those of
the clock on the wall, which alone tell what several threads bring and want the machine for themselves.
"""

import builtins
import importlib
import os
import time

CLOCK = "TURN_CLOCK"
"""In the environment of a turn: `wall`, or else the processor's."""
now = time.perf_counter if os.environ.get(CLOCK) == "wall" else time.process_time
_imports: list[float] = []


def leave_out_imports() -> None:
    """Note, from now on, what imports take, those that come late included."""
    depth = 0

    def noted(function):
        def wrapped(*given, **more):
            nonlocal depth
            depth += 1
            began = now()
            try:
                return function(*given, **more)
            finally:
                depth -= 1
                if not depth:  # an import within another is part of it
                    _imports.append(now() - began)

        return wrapped

    builtins.__import__ = noted(builtins.__import__)
    importlib.import_module = noted(importlib.import_module)  # type: ignore[assignment]


def imported() -> float:
    """Seconds that imports have taken so far."""
    return sum(_imports)


def worked() -> float:
    """Seconds so far for all else."""
    return now() - imported()
