"""Parsers of command lines, alike in all commands. No torch."""

import argparse
from pathlib import Path

from transferlab.errors import refuse


def of(command: str, description: str) -> argparse.ArgumentParser:
    """A parser that says in one sentence what is wrong."""
    made = argparse.ArgumentParser(prog=f"transferlab {command}", description=description)
    made.error = refuse  # type: ignore[method-assign]
    return made


def add_runs(to: argparse.ArgumentParser) -> None:
    """Let a command be told where studies lie: `runs`."""
    to.add_argument("--runs", type=Path, default=Path("runs"), help="where studies lie (paths.runs)")


def add_study(to: argparse.ArgumentParser, otherwise: str = "the only one") -> None:
    """Let a command name a study, `study`, and where it lies, `runs`.

    Args:
        to: the parser.
        otherwise: which it is of when none is named.
    """
    to.add_argument("study", nargs="?", metavar="STUDY", help=f"a study, or its folder (default: {otherwise})")
    add_runs(to)


def add_trust(to: argparse.ArgumentParser) -> None:
    """Let a command be told whose code configs may name: `trust`."""
    told = "let _target_ name things of this Python package"
    to.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=told)
