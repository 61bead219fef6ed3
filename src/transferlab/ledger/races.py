"""Races as the ledger has them: their candidates and rungs, and what `--dry-run` says of them. No torch."""

from dataclasses import replace

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from transferlab import results
from transferlab.composing import Composer, Plan
from transferlab.halving.brackets import Bracket, race
from transferlab.ledger.estimate import estimate, others
from transferlab.ledger.plans import Planned, drawn, hydra_words
from transferlab.ledger.runs import OVER, PRUNED, Ledger, missed
from transferlab.ledger.studies import line, tally
from transferlab.search.planning import FRESH, Search
from transferlab.search.racing import candidates, races
from transferlab.search.space import said


def entrants(loader: ConfigLoader, master: DictConfig, search: Search) -> list[Planned]:
    """The candidates of a race in the order of its lists, each run once.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        search: the race.
    """
    asked = (drawn(loader, master, search.words, varied) for varied in candidates(search))
    return list({run.folder: run for run in asked}.values())


def plan(search: Search, sweeper: DictConfig, entering: list[Planned]) -> Bracket:
    """The rungs of a race.

    Raises:
        InputError: a setting of the sweeper is out of range.
    """
    return race(len(entering), int(search.config.trainer.max_epochs), sweeper.factor, sweeper.first)


def rehearse(composer: Composer, command: Plan) -> None:
    """Print the candidates of a command's races, how far they are, and what is left; nothing is written or started."""
    words = [str(override.input_line) for override in command.overrides if not override.is_hydra_override()]
    master = composer.config([*hydra_words(command), "hydra.mode=MULTIRUN"], multirun=True)
    loader, sweeper = composer.hydra.config_loader, master.hydra.sweeper
    for search in races(loader, master, words):
        entering = entrants(loader, master, search)
        _show(search, entering, plan(search, sweeper, entering))
    if seeds := sweeper.fresh_seeds:
        study = f"{search.config.study}{FRESH}"
        print(f"then the best of each strategy at the last rung on {seeds} fresh seeds, in the study {study}")


def _show(search: Search, entering: list[Planned], bracket: Bracket) -> None:
    study = entering[0].folder.parent
    known = {one.folder: one for one in Ledger(study).look(entering)} if study.is_dir() else {}
    entries = [known.get(run.folder) or missed(run) for run in entering]
    rungs, going = (" -> ".join(map(str, numbers)) for numbers in (bracket.rungs, bracket.going))
    print(f"{search.name}: {going} candidates are trained to {rungs} epochs")
    print("\n".join(f"  {text}" for text in said(search.space)))
    for one in entries:
        print(line(one))
    records = [results.read(one.folder) or {"history": []} for one in entries]
    whole, spent = bracket.rungs[-1], sum(len(record["history"]) for record in records)
    waiting = [one for one in entries if one.state not in (*OVER, PRUNED)]
    left = max(bracket.epochs - spent, 0) if waiting else 0
    everything = whole * len(entries)
    print(f"{tally(entries)}; {left} epochs are left of {bracket.epochs}, where whole runs of all have {everything}")
    found = estimate([*entries, *(one for one in known.values() if one not in entries)], lambda: others(study))
    for text in replace(found, seconds=found.seconds * left / (whole * max(len(waiting), 1))).lines():
        print(text)
