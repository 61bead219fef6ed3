"""Which study a command of the ledger means, and how it writes to the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from transferlab.compare.reading import WANDB, find
from transferlab.errors import InputError, unknown
from transferlab.ledger.runs import Entry, Ledger, counted


def folder(name: str | None, runs: Path) -> Path:
    """The folder of a study; without a name, of the only one there is.

    Raises:
        InputError: no such study, or several to choose from.
    """
    if name is not None and name.startswith(WANDB):
        raise InputError(f"{name} is no folder: the ledger is of studies on disk")
    (found,) = find([] if name is None else [name], runs)
    return Path(found)


def entries(study: Path) -> list[Entry]:
    """The runs of a study.

    Raises:
        InputError: there are none.
    """
    return some(Ledger(study))


def some(ledger: Ledger) -> list[Entry]:
    """The runs of a study, at the first look.

    Raises:
        InputError: there are none.
    """
    found = ledger.look()
    if not found:
        raise InputError(f"{ledger.study} has no runs: name a study, or its folder")
    return found


def named(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """What `--only` names, with commas between; nothing: all there is.

    Raises:
        InputError: one that there is not.
    """
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if wrong := [word for word in found if word not in known]:
        raise unknown("--only", wrong[0], known)
    return found or tuple(known)


def tally(found: Sequence[Entry]) -> str:
    """`30 runs: 28 finished, 2 failed`."""
    counts = ", ".join(f"{count} {state}" for state, count in counted(found).items())
    return f"{len(found)} {'run' if len(found) == 1 else 'runs'}: {counts}" if found else "no runs"


def line(entry: Entry) -> str:
    """A run in one line."""
    return f"{entry.state:12s} {entry.folder.name}  {entry.title}{f'  {entry.reason}' if entry.reason else ''}"


def console() -> Console:
    """The terminal, or as wide as a line may need where there is none."""
    return Console(width=None if Console().is_terminal else 160)
