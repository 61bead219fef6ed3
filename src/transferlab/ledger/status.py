"""`transferlab status`: what of a study is done, what runs, what does not and why, and how long the rest will take."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from transferlab import parsers
from transferlab.ledger import plans, studies
from transferlab.ledger.estimate import duration, estimate, others
from transferlab.ledger.runs import LEFT, STATES, Entry, Ledger, counted

_REFRESH = 2.0  # seconds
_SHOWN = 20
_STYLES = {"running": "green", "failed": "red", "interrupted": "yellow", "missing": "dim", "unreadable": "red"}


@dataclass(frozen=True)
class Options:
    """What is to be shown.

    Attributes:
        study: its name, or its folder; None: the only one under `runs`, or all of them in a line each.
        runs: where studies lie.
        watch: look again and again, until nothing is left to do.
        all: every run that has not finished, not the first of each state alone.
    """

    study: str | None
    runs: Path
    watch: bool
    all: bool


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag.
    """
    parser = parsers.of("status", "Which runs of a study are finished, running, interrupted, failed and missing.")
    parsers.add_study(parser, otherwise="all")
    parser.add_argument("--watch", action="store_true", help="look again every two seconds until all is done")
    parser.add_argument("--all", action="store_true", help=f"list more than {_SHOWN} runs of a state")
    return Options(**vars(parser.parse_args(list(words))))


def status(asked: Options) -> None:
    """Show the runs of a study from its folder alone, or all studies in a line each.

    Raises:
        InputError: no such study, or it has gone.
    """
    console = studies.console()
    several = [path for path in sorted(asked.runs.glob("*")) if path.is_dir()]
    if asked.study is None and len(several) > 1:
        console.print(_overview(several))
        return
    ledger = Ledger(studies.folder(asked.study, asked.runs), again=asked.watch)
    elsewhere = cache(lambda: others(ledger.study))

    def frame(entries: Sequence[Entry]) -> Group:
        left = [Text(line) for line in estimate(entries, elsewhere).lines()]
        title = Text(f"{ledger.study.name}, {studies.tally(entries)}")
        found = [Text(searched(search)) for search in _searches(ledger.study)]
        return Group(title, *found, *([_table(entries, asked.all)] if _shown(entries) else []), *left)

    entries = studies.some(ledger)
    if not asked.watch:
        console.print(frame(entries))
        return
    with Live(frame(entries), console=console, auto_refresh=False) as live:
        while _is_open(entries, ledger.study):
            time.sleep(_REFRESH)
            entries = ledger.look()
            live.update(frame(entries), refresh=True)


def _is_open(entries: Sequence[Entry], study: Path) -> bool:
    """Whether runs are going on or left, or a search has trials to draw."""
    if any(entry.state in ("running", *LEFT) for entry in entries):
        return True
    return any(search["begun"] < search["trials"] for search in _searches(study))


def _searches(study: Path) -> list[Mapping[str, Any]]:
    """The searches that went into a study."""
    return [command.search for command in plans.read(study) if command.search]


def searched(search: Mapping[str, Any]) -> str:
    """How far a search is, in one line.

    Args:
        search: as a plan has it.
    """
    best = search["best"]
    found = f", best score {best['score']:.4f} ({best['run']})" if best else ""
    return f"search {search['name']}: {search['begun']} of {search['trials']} trials begun{found}"


def _overview(folders: Sequence[Path]) -> Table:
    found = {folder.name: entries for folder in folders if (entries := Ledger(folder).look())}
    table = Table("study", box=SIMPLE_HEAD)
    present = [state for state in STATES if any(entry.state == state for one in found.values() for entry in one)]
    for state in present:
        table.add_column(state, justify="right", style=_STYLES.get(state))
    for name, entries in found.items():
        counts = counted(entries)
        table.add_row(name, *(str(counts.get(state, "")) for state in present))
    return table


def _table(entries: Sequence[Entry], everything: bool) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in ("state", "id", "run", ""):
        table.add_column(column, no_wrap=column in ("state", "id"), overflow="fold")
    for state in (one for one in STATES if one != "finished"):
        of_state = [entry for entry in _shown(entries) if entry.state == state]
        for entry in of_state if everything else of_state[:_SHOWN]:
            row = (entry.state, entry.folder.name, entry.title, _more(entry))
            table.add_row(*map(Text, row), style=_STYLES.get(state))
        if len(of_state) > _SHOWN and not everything:
            table.add_row("", "", f"and {len(of_state) - _SHOWN} more {state} (--all shows them)", "")
    return table


def _shown(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.state != "finished"]


def _more(entry: Entry) -> str:
    """What else there is to say of a run that has not finished."""
    if (sign := entry.sign) is None or entry.state not in ("running", "interrupted"):
        return entry.reason
    of = f" of {sign.epochs}" if sign.epochs else ""
    epochs = f"{sign.epoch}{of} epochs"
    if entry.state == "running":
        return f"{epochs}, for {duration(max(time.time() - sign.since, 0))} on {sign.machine} (process {sign.pid})"
    return f"{epochs} when it was last heard of, {duration(max(sign.age, 0))} ago on {sign.machine}"
