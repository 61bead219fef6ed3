"""`--dry-run`: a command's runs, how far they are, how long the rest will take; nothing is written or started."""

from collections.abc import Sequence

from transferlab.composing import Composer, Plan
from transferlab.errors import InputError
from transferlab.expanding import is_known
from transferlab.ledger.estimate import estimate, others
from transferlab.ledger.plans import planned
from transferlab.ledger.runs import OVER, Entry, Ledger, entry, missed
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
    entries = [entry(folder, run) or missed(run) for folder, run in runs.items()]
    show(entries, "would run now")


def show(entries: Sequence[Entry], told: str) -> None:
    """Print runs, their number by state, and the time that those not finished will take.

    Args:
        entries: of the runs.
        told: what is said of those that neither are over nor run.
    """
    for one in entries:
        print(line(one))
    left = [one for one in entries if one.state not in (*OVER, "running")]
    print(f"{tally(entries)}; {len(left)} {told}")
    asked = {one.folder for one in entries}
    places = dict.fromkeys(folder.parent for folder in asked if folder.parent.is_dir())
    beside = [one for study in places for one in Ledger(study).look() if one.state == "finished"]
    known = [one for one in beside if one.folder not in asked]
    roots = dict.fromkeys(folder.parent for folder in asked)
    for said in estimate([*entries, *known], lambda: [one for study in roots for one in others(study)]).lines():
        print(said)
