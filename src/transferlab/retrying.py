"""`transferlab retry`: run what of a study failed, was interrupted or never began."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferlab import jobs, parsers
from transferlab.errors import InputError
from transferlab.expanding import launch
from transferlab.files import check_writable
from transferlab.ledger import studies
from transferlab.ledger.again import batches
from transferlab.ledger.rehearsal import show
from transferlab.ledger.runs import LEFT
from transferlab.progress import expect
from transferlab.trust import trust


@dataclass(frozen=True)
class Options:
    """What is to be run again.

    Attributes:
        study: its name, or its folder; None: the only one under `runs`.
        runs: where studies lie.
        only: of `LEFT`.
        dry_run: list them, and start nothing.
        given: overrides for all of them.
        trust: packages whose code their configs may name.
    """

    study: str | None
    runs: Path
    only: Sequence[str]
    dry_run: bool
    given: Sequence[str]
    trust: Sequence[str]


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag or state.
    """
    parser = parsers.of("retry", "Run what of a study failed, was interrupted or never began.")
    parsers.add_runs(parser)
    parsers.add_trust(parser)
    add = parser.add_argument
    add("words", nargs="*", metavar="STUDY", help="a study, or its folder; then overrides such as hydra/launcher=...")
    add("--only", default="", help=f"some of {', '.join(LEFT)}, with commas between (default: all)")
    add("--dry-run", action="store_true", help="list them, and start nothing")
    found = vars(parser.parse_intermixed_args(list(words)))
    positional = found.pop("words")
    named = [word for word in positional if "=" not in word]
    if len(named) > 1:
        raise InputError(f"'{named[1]}' is no override: write KEY=VALUE behind the name of one study")
    given = [word for word in positional if "=" in word]
    only = studies.named(found.pop("only"), LEFT)
    return Options(study=named[0] if named else None, only=only, given=given, **found)


def retry(asked: Options) -> None:
    """Run what is left of a study; what is finished, diverged or running is let be.

    Raises:
        InputError: no such study, a run would be another one now, or runs failed.
    """
    trust(asked.trust)
    study = studies.folder(asked.study, asked.runs)
    entries = studies.entries(study)
    left = [entry for entry in entries if entry.state in asked.only]
    if asked.dry_run:
        show(left, [entry for entry in entries if entry.state not in asked.only], "would run again")
        return
    if not left:
        print(f"{study} has nothing to run again ({studies.tally(entries)})")
        return
    found = list(batches(study, left, asked.given))
    check_writable(study)
    jobs.begin()
    before = 0
    for batch in found:
        expect(len(left), before=before)
        with batch.composer() as composer:
            launch(composer, jobs.job, batch.hydra, batch.jobs)
        before += len(batch.jobs)
    jobs.end()
