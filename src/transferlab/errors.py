"""What a user is told when something cannot be done: one sentence, with the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn


class InputError(Exception):
    """A sentence for the user: the thing, its value, what is allowed, the remedy. Shown without a traceback."""


class DivergedError(Exception):
    """The training loss became NaN or infinite; the run is recorded as `diverged`."""

    @classmethod
    def during(cls, epoch: int) -> "DivergedError":
        """Its loss shows it."""
        return cls(f"the training loss became NaN or infinite in epoch {epoch}")

    @classmethod
    def at_last(cls) -> "DivergedError":
        """No loss shows what the last step did."""
        return cls("the weights became NaN or infinite in the last epoch")


class PrunedError(Exception):
    """A search broke the run off after an epoch, as others are ahead of it; the run is recorded as `pruned`."""

    @classmethod
    def after(cls, epochs: int, pruner: str) -> "PrunedError":
        """So many epochs, which a pruner found to be enough."""
        return cls(f"broken off after {epochs} {'epoch' if epochs == 1 else 'epochs'} by {pruner}")


class PausedError(Exception):
    """A run stops after so many epochs, as it was asked to; started again, it goes on."""

    @classmethod
    def after(cls, epochs: int | None, of: int | None) -> "PausedError":
        """So many of so many epochs."""
        return cls(f"paused after epoch {epochs} of {of}, to go on later")


def plain(error: BaseException) -> str:
    """What an error says, without the traceback that a loader process wraps around it."""
    return str(error).rpartition("InputError: ")[2].strip() if "Original Traceback" in str(error) else str(error)


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `names`, or nothing if none is near."""
    by_fold = {other.casefold(): other for other in names}
    near = get_close_matches(name.casefold(), list(by_fold), n=1, cutoff=0.5)
    return f"; did you mean '{by_fold[near[0]]}'?" if near else ""


def unknown(what: str, name: str, names: Iterable[str]) -> InputError:
    """The error for a name that matches nothing: what it was, what exists, the nearest name."""
    names = list(names)
    return InputError(f"there is no {what} '{name}'{nearest(name, names)} (there are: {', '.join(names) or 'none'})")


def unknown_key(what: str, key: str, keys: Iterable[str]) -> InputError:
    """The error for a dotted key that matches nothing: the nearest one, and what there is beside it.

    A config has a hundred keys; of those that begin as this one does a handful is named.
    """
    keys = list(keys)
    parent = key.rpartition(".")[0]
    beside = [name for name in keys if parent and name.startswith(f"{parent}.")] or [k for k in keys if "." not in k]
    return InputError(f"there is no {what} '{key}'{nearest(key, keys)} (there are: {', '.join(beside[:12])}, ...)")


def refuse(message: str) -> NoReturn:
    """What a parser says of a command line, in one sentence.

    Raises:
        InputError: always.
    """
    raise InputError(f"{message}; --help shows which flags there are")
