"""`--dry-run`: a command's runs, how far they are, how long the rest will take; nothing is written or started."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transferlab.composing import Composer, Plan
from transferlab.errors import InputError
from transferlab.expanding import is_known
from transferlab.ledger.estimate import estimate, others
from transferlab.ledger.plans import planned
from transferlab.ledger.runs import OVER, Entry, Ledger, missed
from transferlab.ledger.studies import line, tally


def rehearse(composer: Composer, plans: Sequence[Plan]) -> None:
    """Print the runs of a command's parts.

    Args:
        composer: of the command.
        plans: of its parts.

    Raises:
        InputError: its sweeper searches.
    """
    if not all(map(is_known, plans)):
        sweeper = plans[0].config.hydra.sweeper._target_
        raise InputError(f"--dry-run: which runs there will be is up to {sweeper}, which searches; list values instead")
    runs = {run.folder: run for plan in plans for run in planned(composer, plan)}
    found: dict[Path, Entry] = {}
    for study in dict.fromkeys(folder.parent for folder in runs if folder.parent.is_dir()):
        asked = [run for folder, run in runs.items() if folder.parent == study]
        found |= {one.folder: one for one in Ledger(study).look(asked)}
    entries = [found[folder] if folder in found else missed(run) for folder, run in runs.items()]
    show(entries, [one for folder, one in found.items() if folder not in runs], "would run now")


def show(entries: Sequence[Entry], beside: Iterable[Entry], told: str) -> None:
    """Print runs, their number by state, and the time that those not finished will take.

    Args:
        entries: of the runs.
        beside: of the other runs of their studies.
        told: what is said of those that neither are over nor run.
    """
    for one in entries:
        print(line(one))
    left = [one for one in entries if one.state not in (*OVER, "running")]
    print(f"{tally(entries)}; {len(left)} {told}")
    known = [one for one in beside if one.state == "finished"]
    roots = dict.fromkeys(one.folder.parent for one in entries)
    for said in estimate([*entries, *known], lambda: [one for study in roots for one in others(study)]).lines():
        print(said)
