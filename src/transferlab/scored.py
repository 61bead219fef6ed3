"""What rankings say, on disk: `<study>/ranking/<id>/ranking.json`, written whole, found and read again. No torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transferlab.errors import InputError
from transferlab.files import write_text

FOLDER, FILE = "ranking", "ranking.json"
SCHEMA = 1


def identity(said: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of the hash of what makes a ranking what it is, in whatever order its candidates came."""
    candidates = sorted(json.dumps(row["config"], sort_keys=True) for row in said["rows"])
    text = json.dumps([candidates, said["settings"], said["functions"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def write(folder: Path, said: Mapping[str, Any]) -> Path:
    """Write a ranking; where it lies."""
    file = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"schema": SCHEMA, **said}, indent=1, allow_nan=False) + "\n")
    return file


def rankings(studies: Iterable[Path]) -> list[dict[str, Any]]:
    """Every ranking in the folders of studies that can be read, the newest first."""
    files = {file for study in studies for file in study.glob(f"{FOLDER}/*/{FILE}")}
    found = (_read(file) for file in sorted(files, key=lambda file: (-file.stat().st_mtime_ns, file)))
    return [said for said in found if said is not None]


def scores_of(runs: Path, source: str, backbone: str, target: str) -> dict[str, float]:
    """What the newest ranking under `runs`, in whatever study, says of a source on a backbone.

    Args:
        runs: where studies lie.
        source: its name.
        backbone: likewise.
        target: likewise.

    Raises:
        InputError: no ranking has them.
    """
    for said in rankings(path for path in runs.glob("*") if path.is_dir()):
        for row in said["rows"]:
            if (row["source"], row["backbone"], said["target"]) == (source, backbone, target):
                return dict(row["scores"])
    raise InputError(
        f"no ranking under {runs} has source={source} backbone={backbone} for target={target}: transferlab rank"
    )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and said.get("schema") == SCHEMA else None
