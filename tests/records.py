"""What runs have said, and whether two of them say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch


def record(study: str) -> dict[str, Any]:
    (file,) = Path("runs", study).glob("*/run.json")
    return whole(file)


def whole(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    weights = {name: torch.load(file.parent / name, weights_only=True) for name in ("selected.pt", "last.pt")}
    return {**found, **weights}


def alike(one: Any, other: Any, exactly: bool = False, within: float = 1e-3) -> None:
    """All that a run says but times, to round-off: of numbers a share, and a tenth of it of small ones."""
    for key in ("history", "metrics", "report", "data", "selected.pt", "last.pt"):
        _alike(one[key], other[key], key, 0.0 if exactly else within)
    for key in ("samples", "flops", "trainable_parameters", "total_parameters"):
        assert one["cost"][key] == other["cost"][key], key


def _alike(one: Any, other: Any, where: str, within: float) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), (where, one.keys() ^ other.keys())
        for key in one:
            _alike(one[key], other[key], f"{where}.{key}", within)
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            _alike(*pair, f"{where}.{number}", within)
    elif isinstance(one, torch.Tensor) and within:
        torch.testing.assert_close(one, other, rtol=within, atol=within / 100, msg=where)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, float) and within:
        # one sample whose confidence crosses the edge of a bin moves this one, by how little it may have crossed
        least = within if where.endswith("calibration_error") else within / 10
        assert one == pytest.approx(other, rel=within, abs=least, nan_ok=True), where
    else:
        assert one == other, where
