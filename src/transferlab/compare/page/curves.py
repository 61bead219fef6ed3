"""Curves as the page embeds them: 32-bit numbers in one block, epochs where something was measured, once each."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.compare.comparison import Comparison
from transferlab.compare.curves import Band, Key
from transferlab.compare.runs import Run

# values that are embedded whole; beyond, a curve of a run keeps so many points, and a run so many curves
_WHOLE = 1_000_000
_MOST_POINTS = 50
_MOST_KEYS = 3


class Floats:
    """A block of numbers, and the epochs that belong to them."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._length = 0

    def add(self, *parts: NDArray[Any]) -> int:
        """Append numbers; where the first of them stands."""
        start = self._length
        with np.errstate(over="ignore"):  # a loss beyond 3e38 is infinite for the eye
            self._parts += [part.astype("<f4").ravel() for part in parts]
        self._length += sum(part.size for part in parts)
        return start

    def text(self) -> str:
        """Base64 of little-endian 32-bit floats."""
        return base64.b64encode(np.concatenate([np.empty(0, "<f4"), *self._parts]).tobytes()).decode()


class Grids:
    """Lists of epochs, each kept once."""

    def __init__(self) -> None:
        self.lists: list[list[int]] = []
        self._known: dict[bytes, int] = {}

    def number(self, epochs: NDArray[np.int64]) -> int:
        """Of a list of epochs, new or known."""
        key = epochs.tobytes()
        if key not in self._known:
            self._known[key] = len(self.lists)
            self.lists.append(epochs.tolist())
        return self._known[key]


def thinned(length: int, most: int | None) -> NDArray[np.int64]:
    """Indices of at most `most` points of a curve, even and with both ends; None: of all."""
    if most is None or length <= most:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, most).round().astype(np.int64))


def curves_of(runs: Sequence[Run], metric: str, floats: Floats) -> dict[str, Any]:
    """Every run's history.

    Returns:
        `keys`; `epochs`: lists of them; `layouts`: lists of (key, epochs) by number, the order in which a run's values
        stand; `of`: each run's layout; `start`: where its values start in the block; `thinned`: how many points and
        keys are kept, or None for all.
    """
    measured = [{key: np.flatnonzero(~np.isnan(values)) for key, values in run.curves.values.items()} for run in runs]
    many = sum(len(known) for one in measured for known in one.values()) > _WHOLE
    most = _MOST_POINTS if many else None
    grids, keys, layouts = Grids(), dict[str, int](), dict[tuple[tuple[int, int], ...], int]()
    of, start = [], []
    for run, known in zip(runs, measured, strict=True):
        layout, parts = [], []
        for key in _first_keys(run, metric) if many else run.curves.values:
            if len(known[key]):
                kept = known[key][thinned(len(known[key]), most)]
                layout.append((keys.setdefault(key, len(keys)), grids.number(run.curves.epochs[kept])))
                parts.append(run.curves.values[key][kept])
        of.append(layouts.setdefault(tuple(layout), len(layouts)))
        start.append(floats.add(*parts))
    return {
        "keys": list(keys),
        "epochs": grids.lists,
        "layouts": list(layouts),
        "of": of,
        "start": start,
        "thinned": {"points": _MOST_POINTS, "keys": _MOST_KEYS} if many else None,
    }


def bands_of(
    bands: Mapping[Key, Mapping[str, Band]], settings: Mapping[tuple[str, ...], int], floats: Floats
) -> dict[str, Any]:
    """Every strategy's curves: for each key its epochs, the means and half widths (low and high are as far), and runs.

    Returns:
        `epochs`: lists of them; `list`: setting, strategy, key, number of its epochs, where its means start (half
        widths follow), runs: one number where all epochs have as many, else one each; `thinned`: how
        many points are kept, or None for all.
    """
    many = sum(2 * len(band.epochs) for keys in bands.values() for band in keys.values()) > _WHOLE
    most = _MOST_POINTS if many else None
    grids, found = Grids(), []
    for (*setting, strategy), by_key in bands.items():
        for key, band in by_key.items():
            kept = thinned(len(band.epochs), most)
            runs = band.runs[kept].tolist()
            place = floats.add(band.mean[kept], (band.high - band.mean)[kept])
            counts = runs[0] if len(set(runs)) == 1 else runs
            found.append([settings[tuple(setting)], strategy, key, grids.number(band.epochs[kept]), place, counts])
    return {"epochs": grids.lists, "list": found, "thinned": most}


def timelines_of(
    comparison: Comparison, settings: Mapping[tuple[str, ...], int], floats: Floats
) -> list[dict[str, Any]]:
    """What trained when: setting, strategy, stages, epochs, alike, where the rates (stages, epochs) start."""
    study = comparison.study
    epochs: dict[Key, NDArray[np.int64]] = {}
    for *key, name in study.table[["source", "target", "backbone", "strategy", "run_id"]].itertuples(index=False):
        if len(study.runs[name].curves.epochs):
            epochs.setdefault((key[0], key[1], key[2], key[3]), study.runs[name].curves.epochs)
    return [
        {
            "setting": settings[key[:3]],
            "strategy": key[3],
            "stages": timeline.stages,
            "epochs": epochs[key].tolist(),
            "alike": timeline.alike,
            "start": floats.add(timeline.rates),
        }
        for key, timeline in comparison.timelines.items()
    ]


def _first_keys(run: Run, metric: str) -> list[str]:
    """The curves that a run keeps where there is no room for all: how it was judged, and its losses."""
    wanted = dict.fromkeys((f"val/{metric.partition('/')[2]}", "train/task_loss", "val/loss", *run.curves.values))
    return [key for key in wanted if key in run.curves.values][:_MOST_KEYS]
