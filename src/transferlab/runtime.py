"""How a run is computed: threads, the layout of images, memory kept between operations. What it computes stays.

The settings are those of `results.COMPUTING`; what each is for, and what it brings, is in docs/runtime.md.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils import deterministic

from transferlab.backbones.base import Backbone
from transferlab.cores import usable_cores
from transferlab.errors import InputError

# parameters of glibc's mallopt, by their numbers in malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
# some versions of glibc refuse a threshold above half a heap's size
_MMAP_FROM = (1 << 30, 32 << 20)
_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")

_kept = False


def allocator(chosen: str) -> str:
    """Let the process keep what it frees, so that the next operation's activations need no new pages of the kernel.

    Args:
        chosen: `auto`, or `system`: change nothing.

    Returns:
        `kept`, or `system` where nothing was changed: by choice, because the allocator is not glibc's, or because
        its variables (`MALLOC_..._`, `GLIBC_TUNABLES`) say what it shall do. It is the process's: once kept, it stays.

    Raises:
        InputError: neither of the two.
    """
    global _kept
    if chosen not in ("auto", "system"):
        raise InputError(f"trainer.allocator={chosen}: auto or system")
    if chosen == "auto" and not _kept and not _set_by_user() and (glibc := _glibc()) is not None:
        _kept = any(glibc.mallopt(_MMAP_THRESHOLD, size) for size in _MMAP_FROM)
        if _kept:
            glibc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
            glibc.mallopt(_TOP_PAD, 256 << 20)
    return "kept" if _kept else "system"


def without_accelerators() -> None:
    """Where there is no NVIDIA device, have torch's optimisers ask its runtime, which remembers, at each step.

    Lightning has them look for the driver's library instead, so that asking does not keep a process from forking; here
    there is nothing to be kept from, and looking takes longer than the step of a small head.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


@contextmanager
def unfilled() -> Iterator[None]:
    """Within, torch hands out memory as it is, also where operations are to be deterministic.

    There it fills all that an operation is about to write with NaN, so that an operation which reads what nobody wrote
    shows: one more pass over every activation and gradient, which no number depends on.
    """
    settings: Any = deterministic  # a module with properties, of which type checkers do not know
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


def give_back() -> None:
    """Give the kernel what earlier runs of the process freed and `allocator` kept."""
    if _kept and (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


def channels_last(module: nn.Module, backbone: Backbone, chosen: bool | str, on_cpu: bool) -> bool:
    """Lay out the weights of convolutions so that the channels of a pixel lie side by side.

    A convolution whose weights lie so brings its input into the same layout, and what follows keeps it: batches need no
    change. Weights stay the same tensors with the same values and shapes.

    Args:
        module: all that is computed with, in place.
        backbone: which net it is about.
        chosen: true, false, or `auto`: on the CPU, for nets whose maps go through BatchNorm. The rule asks no clock,
            so that one command always computes alike (docs/runtime.md has the measurements behind it).
        on_cpu: whether it is computed there.

    Returns:
        Whether they lie so.

    Raises:
        InputError: none of the three.
    """
    if chosen not in (True, False, "auto"):
        raise InputError(f"trainer.channels_last={chosen}: auto, true or false")
    if chosen == "auto":
        chosen = on_cpu and any(isinstance(part, nn.BatchNorm2d) for part in backbone.modules())
    if chosen:
        # what an adapter put in stays: peft's DoRA looks at it as a matrix
        named = backbone.named_parameters() if backbone.added else ()
        added = {id(p) for name, p in named if name.removeprefix("net.") in backbone.added}
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.ndim == 4 and id(tensor) not in added:
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return bool(chosen)


@contextmanager
def threads(chosen: int | str, processes: int = 1) -> Iterator[int]:
    """Within, torch computes an operation on so many threads; afterwards on as many as before.

    Args:
        chosen: a number, or `auto`: as many as torch has, which reads OMP_NUM_THREADS, but no more than the cores that
            the process may use by now, as launchers that start several processes bind them.
        processes: of the run, among which these are divided.

    Raises:
        InputError: neither.
    """
    before = torch.get_num_threads()
    if chosen == "auto":
        chosen = max(min(before, usable_cores()) // processes, 1)
    if not isinstance(chosen, int) or isinstance(chosen, bool) or chosen < 1:
        raise InputError(f"trainer.threads={chosen}: auto, or a whole number from 1 on")
    if chosen != before:
        torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        if chosen != before:
            torch.set_num_threads(before)


def said(chosen: Mapping[str, object]) -> str:
    """What was chosen, in a line."""
    threads = "1 thread" if chosen["threads"] == 1 else f"{chosen['threads']} threads"
    layout = "channels last" if chosen["channels_last"] else "channels first"
    memory = "freed memory kept" if chosen["allocator"] == "kept" else "the system's allocator"
    steps = ", fused steps" if chosen["fused"] else ""
    return f"computing with {threads}, {layout}, {memory}{steps}"


def _set_by_user() -> bool:
    """Whether glibc's own variables say what the allocator shall do."""
    return any(name in os.environ for name in _VARIABLES) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")


@cache
def _glibc() -> ctypes.CDLL | None:
    """The GNU C library, where it is the one that the process allocates by: another may be preloaded or linked."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        glibc, process = ctypes.CDLL("libc.so.6"), ctypes.CDLL(None)
        places = {ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (glibc, process)}
        return glibc if len(places) == 1 and glibc.mallopt and glibc.malloc_trim else None
    except (OSError, AttributeError):  # another C library
        return None
