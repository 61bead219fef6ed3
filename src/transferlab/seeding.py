"""Seeds as pure functions of what they are for, so that no random state ever needs saving."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose of a run, e.g. `derive(seed, "epoch", 3)`.

    Different purposes give independent seeds, and asking for one never shifts another: a strategy that draws more
    numbers than its neighbour still sees the same samples and starts from the same head.

    Returns:
        An integer in [0, 2**32), which NumPy, Python and torch all accept.
    """
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
