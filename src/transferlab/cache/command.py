"""`transferlab cache`: what there is of activations, whether it is whole, and away with it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from transferlab import parsers
from transferlab.cache import contents
from transferlab.cache.store import FOLDER, Store
from transferlab.errors import InputError


def options(words: Sequence[str]) -> tuple[str, Path]:
    """What to do, and with which folder.

    Raises:
        InputError: no such action or flag.
    """
    parser = parsers.of("cache", "Activations of frozen stages, kept for all runs.")
    actions = ["list", "check", "clear"]
    parser.add_argument("action", nargs="?", choices=actions, default="list", help="what to do (default: list)")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="where they lie (paths.cache)")
    found = parser.parse_args(list(words))
    return found.action, found.cache / FOLDER


def cache(asked: tuple[str, Path]) -> None:
    """List what there is, the one not used for longest last; check every file; or remove what no process holds.

    Args:
        asked: the action, and the folder.

    Raises:
        InputError: files are damaged.
    """
    action, folder = asked
    if action == "clear":
        (folder.parent / contents.FILE).unlink(missing_ok=True)
    store = Store(folder, gigabytes=1, wait=False)
    entries = store.entries()[::-1]
    if not entries:
        print(f"{folder} keeps no activations")
    elif action == "list":
        _show(folder, store)
    elif action == "check":
        _check(folder, store)
    else:
        held = [entry["key"] for entry in entries if not store.remove(entry["key"])]
        size = sum(entry["bytes"] for entry in entries if entry["key"] not in held)
        print(f"removed {decimal(size)}" + (f"; in use and left alone: {', '.join(held)}" if held else ""))


def _show(folder: Path, store: Store) -> None:
    entries = store.entries()[::-1]
    table = Table(box=SIMPLE_HEAD)
    for name in ("key", "backbone", "enters at"):
        table.add_column(name, no_wrap=True)
    for name in ("samples", "bytes each", "size", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in entries:
        about = {name: str(value) for name, value in entry["about"].items()}
        first = [entry["key"], about.get("backbone", "-"), about.get("before", "-")]
        table.add_row(
            *first, f"{entry['rows']:,}", about.get("bytes", "-"), decimal(entry["bytes"]), _ago(entry["idle"])
        )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    console.print(f"{decimal(sum(entry['bytes'] for entry in entries))} in {folder}")


def _check(folder: Path, store: Store) -> None:
    damaged = store.damaged()
    for place in damaged:
        shutil.rmtree(place, ignore_errors=True)
        print(f"removed {place}, which is damaged; the next run that needs it computes it anew")
    if damaged:
        raise InputError(f"{len(damaged)} damaged of what {folder} keeps: look after the disk")
    print(f"all of {decimal(sum(entry['bytes'] for entry in store.entries()))} in {folder} is as it was written")


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
