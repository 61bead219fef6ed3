"""Which boundaries of a net are worth keeping the activations at.

The choice rests on counted operations and bytes, not on a clock, so that it is the same each time a command is run: a
batch that enters at another boundary has other last bits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

# Of a device: operations a second in the forward pass of common nets, one process, and bytes a second from the cache.
_RATES = {"cpu": 2e10, "cuda": 1e13, "mps": 2e12}
_READ, _WRITE = 2e9, 5e8
_LEAST = 0.05  # seconds: hashing, opening and locking cost something too


@dataclass(frozen=True)
class Work:
    """What a run has still to do with its frozen stages, and on what.

    Attributes:
        still: for each epoch to come, how many of the first stages are frozen in it.
        same: for each epoch to come, how many of the first stages then are as they are now.
        flops: of the first 0, 1, 2, ... stages, forward, a sample.
        samples: that pass through the net in an epoch, training and validation.
        rows: that are kept of them: more, where training samples have several views.
        device: `cpu`, `cuda`, ...
    """

    still: Sequence[int]
    same: Sequence[int]
    flops: Sequence[float]
    samples: int
    rows: int
    device: str


def chosen(work: Work, sizes: Mapping[int, int], ready: Collection[int], limit: float) -> list[int]:
    """The boundaries to keep, by the number of stages before them; nothing where nothing pays.

    Args:
        work: of the run.
        sizes: of the boundaries that may be kept, bytes a sample.
        ready: those whose activations are there already.
        limit: bytes that the others may take together.

    Returns:
        In order from input to features.
    """
    found: list[int] = []
    least = without = seconds(work, {}, ())
    while True:
        options = []
        for one in sizes.keys() - found:
            kept = {*found, one}
            if sum(sizes[each] for each in kept - set(ready)) * work.rows <= limit:
                options.append((seconds(work, {each: sizes[each] for each in kept}, ready), one))
        if not options or min(options)[0] >= least:
            break
        least, best = min(options)
        found.append(best)
    return sorted(found) if without - least >= _LEAST else []


def seconds(work: Work, kept: Mapping[int, int], ready: Collection[int]) -> float:
    """What the frozen stages take in the epochs to come, roughly: to compute, write and read.

    Args:
        work: of the run.
        kept: boundaries whose activations are kept, with bytes a sample.
        ready: those of them that need no computing first.
    """
    rate = _RATES.get(work.device, _RATES["cpu"])
    passing = making = 0.0
    for still, same in zip(work.still, work.same, strict=True):
        start = max((one for one in kept if one <= min(still, same)), default=0)
        passing += (work.flops[still] - work.flops[start]) / rate + kept.get(start, 0) / _READ
    before = 0
    for one in sorted(kept):
        if one not in ready:
            making += (work.flops[one] - work.flops[before]) / rate + kept[one] / _WRITE
        before = one
    return passing * work.samples + making * work.rows
