"""What a study that was under fire ended with, beside the same study in peace."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from transferlab import results
from transferlab.files import TEMPORARY
from transferlab.ledger import studies

# what depends on the clock, on the launcher's words and on who came first
_OTHERWISE = {"seconds", "fit_seconds", "diagnostics_seconds", "peak_memory_bytes", "cache_hits", "overrides"}


ROUND_OFF = 1e-4
"""The share by which numbers may differ where kept activations were computed in another batch."""


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
    pairs = [(_whole(runs / study / name), _whole(peace / study / name)) for name in finished]
    over = [file.parent for file in runs.glob("*/*/run.json")]
    return {
        "finished": len(finished),
        "others": len(entries) - len(finished) + len(list((runs / "pretraining").iterdir())) - 1,
        "equal": sum(_alike(one, other, 0.0) for one, other in pairs),
        "almost": sum(
            one["kept"] and not _alike(one, other, 0.0) and _alike(one, other, ROUND_OFF) for one, other in pairs
        ),
        "half_written": sum(TEMPORARY.fullmatch(path.name) is not None for path in runs.rglob(".*")),
        "signs": len(list(runs.rglob(".alive"))),
        "checkpoints": sum((folder / name).exists() for folder in over for name in results.PASSING),
    }


def _whole(run: Path) -> dict[str, Any]:
    """What a run says, its weights, and whether it was served kept activations."""
    said = json.loads((run / "run.json").read_bytes())
    weights = {name: torch.load(run / name, weights_only=True) for name in ("selected.pt", "last.pt")}
    return {"said": said, "weights": weights, "kept": said["cost"]["cache_hits"] > 0}


def _alike(one: Any, other: Any, within: float) -> bool:
    """Whether two runs say the same, numbers to a share and a tenth of it of small ones; 0: bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() - _OTHERWISE
        return keys == other.keys() - _OTHERWISE and all(_alike(one[key], other[key], within) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_alike(*pair, within) for pair in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor):
        return torch.allclose(one, other, within, within / 10) if within else torch.equal(one, other)
    if isinstance(one, float) and isinstance(other, float) and within:
        return math.isclose(one, other, rel_tol=within, abs_tol=within / 10)
    return one == other
