"""What a study that was under fire ended with, beside the same study in peace."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from transferlab import results
from transferlab.files import TEMPORARY
from transferlab.ledger import studies

# what depends on the clock, on the launcher's words and on who came first
_OTHERWISE = {"seconds", "fit_seconds", "diagnostics_seconds", "peak_memory_bytes", "cache_hits", "overrides"}


class Watch:
    """Looks at a study while it is done.

    Attributes:
        study: its folder.
        finished: its finished runs, with the time when each was written.
        again: how many finished records were written again.
    """

    def __init__(self, study: Path) -> None:
        self.study, self.again = study, 0
        self.finished: dict[Path, int] = {}

    def look(self) -> None:
        """Once more."""
        for file in self.study.glob("*/run.json"):
            with suppress(OSError, ValueError):
                written = file.stat().st_mtime_ns
                if self.finished.get(file) != written and json.loads(file.read_bytes())["status"] == "finished":
                    self.again += file in self.finished
                    self.finished[file] = written


def compared(runs: Path, peace: Path, study: str) -> dict[str, int]:
    """How many runs are finished, equal to those in peace, and what else lies there.

    Args:
        runs: where the studies under fire lie, with their pretraining.
        peace: the same in peace.
        study: its name.
    """
    entries = studies.entries(runs / study)
    finished = [entry.folder.name for entry in entries if entry.state == "finished"]
    equal = [name for name in finished if _said(runs / study / name) == _said(peace / study / name)]
    over = [file.parent for file in runs.glob("*/*/run.json")]
    return {
        "finished": len(finished),
        "others": len(entries) - len(finished) + len(list((runs / "pretraining").iterdir())) - 1,
        "equal": sum(_weights(runs / study / name) == _weights(peace / study / name) for name in equal),
        "half_written": sum(TEMPORARY.fullmatch(path.name) is not None for path in runs.rglob(".*")),
        "signs": len(list(runs.rglob(".alive"))),
        "checkpoints": sum((folder / name).exists() for folder in over for name in results.PASSING),
    }


def _said(run: Path) -> Any:
    return _kept(json.loads((run / "run.json").read_bytes()))


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _kept(item) for key, item in value.items() if key not in _OTHERWISE}
    return [_kept(item) for item in value] if isinstance(value, list) else value


def _weights(run: Path) -> dict[str, Any]:
    """Bit for bit."""
    found = {}
    for name in ("selected.pt", "last.pt"):
        for key, tensor in torch.load(run / name, weights_only=True).items():
            found[f"{name}/{key}"] = (
                str(tensor.dtype),
                tuple(tensor.shape),
                tensor.contiguous().view(-1).numpy().tobytes(),
            )
    return found
