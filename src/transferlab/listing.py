"""What there is to choose from: one line for each yaml of a group, from its own first comment. No torch."""

from collections.abc import Iterator
from pathlib import Path

from transferlab.errors import unknown
from transferlab.folders import shipped

_PLURALS = {"strategies": "strategy", "losses": "loss", "freezings": "freezing"}
_SPACES = "strategy/search"  # beside the strategies: what is searched for each, nothing to choose


def groups(config_dirs: list[Path]) -> list[str]:
    """Every config group, such as `strategy` or `strategy/freezing`."""
    found = {
        str(file.parent.relative_to(folder))
        for folder in config_dirs
        for file in folder.rglob("*.yaml")
        if file.parent != folder and not file.name.startswith("_")
    }
    return sorted(found - {"hydra", _SPACES})


def options(name: str, config_dir: str | None = None) -> list[tuple[str, str]]:
    """The (name, first comment) of each option of a group, which may be named in the plural or by its last part.

    Raises:
        InputError: no such group.
    """
    folders = [shipped("conf"), *([Path(config_dir)] if config_dir else [])]
    known = groups(folders)
    group = _group(name, known)
    found = {file.stem: first_comment(file) for folder in folders for file in _files(folder / group)}
    return sorted(found.items())


def plural(group: str) -> str:
    """The word a user types for a group: `strategies` for `strategy`."""
    reverse = {singular: plural for plural, singular in _PLURALS.items()}
    return reverse.get(group, group if "/" in group else f"{group}s")


def _group(name: str, known: list[str]) -> str:
    singular = _PLURALS.get(name, name.removesuffix("s"))
    for candidate in (name, singular):
        for group in known:
            if candidate in (group, group.rpartition("/")[2]):
                return group
    raise unknown("group", name, [plural(group) for group in known])


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.glob("*.yaml") if not file.name.startswith("_"))


def first_comment(file: Path) -> str:
    """The first line of a yaml, which says in a few words what it is."""
    with file.open(encoding="utf-8") as lines:
        first = next(lines, "")
    return first.lstrip("# ").strip() if first.startswith("#") else ""
