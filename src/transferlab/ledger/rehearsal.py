"""`--dry-run`: a command's runs, how far they are, how long the rest will take; nothing is written or started."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transferlab.composing import Composer, Plan
from transferlab.errors import InputError
from transferlab.expanding import is_known
from transferlab.ledger import races
from transferlab.ledger.estimate import estimate, others
from transferlab.ledger.plans import hydra_words, planned, read
from transferlab.ledger.runs import OVER, PRUNED, Entry, Ledger, missed
from transferlab.ledger.status import searched
from transferlab.ledger.studies import line, tally
from transferlab.search.planning import FRESH, RACING, SWEEPER, searches
from transferlab.search.space import said


def rehearse(composer: Composer, plans: Sequence[Plan]) -> None:
    """Print the runs of a command's parts.

    Args:
        composer: of the command.
        plans: of its parts.

    Raises:
        InputError: its sweeper searches.
    """
    if plans[0].config.hydra.sweeper._target_ == SWEEPER:
        _rehearse_search(composer, plans[0])
        return
    if plans[0].config.hydra.sweeper._target_ == RACING:
        races.rehearse(composer, plans[0])
        return
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


def _rehearse_search(composer: Composer, plan: Plan) -> None:
    """Print what a search has found, and how many trials are left; which these are, only earlier ones can say."""
    words = [str(override.input_line) for override in plan.overrides if not override.is_hydra_override()]
    master = composer.config([*hydra_words(plan), "hydra.mode=MULTIRUN"], multirun=True)
    entries: list[Entry] = []
    found, left = searches(composer.hydra.config_loader, master, words), 0
    for search in found:
        study = Path(str(search.config.paths.runs)) / str(search.config.study)
        begun = [one for one in read(study) if one.search and one.search["study"] == search.study]
        asked = {run.folder for command in begun for run in command.runs}
        mine = [one for one in Ledger(study).look() if one.folder in asked] if asked else []
        told = {"begun": 0, "best": None, **((begun[0].search or {}) if begun else {})}
        over = sum(one.state in (*OVER, PRUNED) for one in mine) + told["begun"] - len(mine)
        print(searched({**told, "name": search.name, "trials": search.trials}))
        print("\n".join(f"  {text}" for text in said(search.space)) or "  nothing to search: its only configuration")
        left += search.trials - min(over, search.trials)
        axes = {str(key): value for key, value in search.config.axes.items()} | {"seed": search.config.seed}
        entries += [*mine, *(Entry(study, "missing", axes=axes) for _ in range(search.trials - len(mine)))]
    for one in entries:
        if one.state != "missing" or one.words:
            print(line(one))
    total = sum(search.trials for search in found)
    print(f"{total} trials of {len(found)} searches: {total - left} over, {left} would run now, drawn one by one")
    if seeds := master.hydra.sweeper.fresh_seeds:
        print(
            f"then the best configuration of each on {seeds} fresh seeds, in the study {found[0].config.study}{FRESH}"
        )
    for text in estimate(entries, lambda: others(study)).lines():
        print(text)


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
    for text in estimate([*entries, *known], lambda: [one for study in roots for one in others(study)]).lines():
        print(text)
