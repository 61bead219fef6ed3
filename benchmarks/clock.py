"""Processor time of this process without its imports, which happen once whatever it does then.

Seconds are the kernel's included. Unlike those of the clock on the wall they do not grow when somebody else uses the
machine.
"""

import builtins
import importlib
import time

_imports: list[float] = []


def leave_out_imports() -> None:
    """Note, from now on, what imports take, those that come late included."""
    depth = 0

    def noted(function):
        def wrapped(*given, **more):
            nonlocal depth
            depth += 1
            began = time.process_time()
            try:
                return function(*given, **more)
            finally:
                depth -= 1
                if not depth:  # an import within another is part of it
                    _imports.append(time.process_time() - began)

        return wrapped

    builtins.__import__ = noted(builtins.__import__)
    importlib.import_module = noted(importlib.import_module)  # type: ignore[assignment]


def imported() -> float:
    """Seconds that imports have taken so far."""
    return sum(_imports)


def worked() -> float:
    """Seconds so far for all else."""
    return time.process_time() - imported()
