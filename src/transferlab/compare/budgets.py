"""At what cost: which strategies nothing else beats for less, and what equal numbers of tuning trials give."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from transferlab.compare.runs import Run
from transferlab.compare.settings import DATA_AND_NET, SETTING, differing_keys

COSTS = {
    "seconds": "seconds a run",
    "samples": "samples trained on",
    "trainable_parameters": "trainable parameters",
    "flops": "training FLOPs",
    "peak_memory_bytes": "peak memory in bytes",
}
SOUPS = {"greedy": "greedy_soup", "uniform": "uniform_soup"}
"""Strategies that are made of all trials of a study, and are no trial themselves."""
# what a run is about; every other key that varies is tuned
_GIVEN = (*DATA_AND_NET, "selection.")


def front(table: pd.DataFrame, cost: str, sign: int = 1) -> pd.Series:
    """Whether no other strategy of the setting is at least as good and as cheap, and better in one of the two.

    Args:
        table: as `table.summarise` gives it.
        cost: one of its columns; rows without it are on no front.
        sign: 1 where more is better, -1 where less is.
    """
    found = []
    for _, group in table.dropna(subset=[cost]).groupby(SETTING):
        score, price = sign * group["mean"].to_numpy(float), group[cost].to_numpy(float)
        no_worse = (score[:, None] >= score) & (price[:, None] <= price)
        better = (score[:, None] > score) | (price[:, None] < price)
        found.append(pd.Series(~(no_worse & better).any(axis=0), index=group.index))
    return pd.concat(found).reindex(table.index, fill_value=False) if found else pd.Series(False, index=table.index)


def is_tuned(varying: Iterable[str]) -> bool:
    """Whether one of these config keys is tuned, rather than given with the data and the net."""
    return any(not key.startswith(_GIVEN) for key in varying)


def trials(runs: pd.DataFrame, records: Mapping[str, Run], validation_sign: int = 1) -> pd.DataFrame:
    """What a strategy is expected to score after k tuning trials, for every k up to its number of trials.

    A trial is a configuration of a strategy, its score the mean over its seeds; the trial with the best validation
    score is taken. With k = 1 it is the mean over the trials. Dodge et al. 2019 (arXiv:1909.03004).

    Args:
        runs: one row a run, with its score and the validation score beside it.
        records: the runs, by id.
        validation_sign: 1 where a higher validation score is better, -1 where a lower is.

    Returns:
        One row a setting, method and k: source, target, backbone, method, trials, k, expected; no rows where no
        strategy has a second trial. `expected` is NaN where nothing was validated.
    """
    rows = []
    runs = runs[~runs["method"].isin(SOUPS.values())]
    for setting, group in _tuned(runs, records).groupby(SETTING, sort=False):
        methods = {
            name: part.groupby("trial")[["score", "val"]].mean(numeric_only=True)
            for name, part in group.groupby("method")
        }
        if max(len(found) for found in methods.values()) < 2:
            continue
        for method, found in methods.items():
            val, score = (validation_sign * found["val"]).tolist(), found["score"].tolist()
            for k in range(1, len(found) + 1):
                row: dict[str, Any] = dict(zip(SETTING, setting, strict=True))
                rows.append(row | {"method": method, "trials": len(found), "k": k, "expected": expected(score, val, k)})
    return pd.DataFrame(rows, columns=[*SETTING, "method", "trials", "k", "expected"])


def expected(scores: Sequence[float], validation: Sequence[float], k: int) -> float:
    """The expected score of the best validated of k trials drawn with replacement from those made.

    Of n trials in the order of their validation scores, the i-th is the best of k with probability
    (i / n)^k - ((i - 1) / n)^k (Dodge et al. 2019, eq. 4); equals share theirs.

    Args:
        scores: one a trial.
        validation: of the same trials; higher is better.
        k: how many are drawn.

    Returns:
        NaN where a validation score is missing.
    """
    if any(value is None or np.isnan(value) for value in validation):
        return float("nan")
    ranked = pd.Series(scores, dtype=float).groupby(list(validation)).agg(["mean", "size"])
    upper = ranked["size"].cumsum() / len(scores)
    lower = upper - ranked["size"] / len(scores)
    return float((ranked["mean"] * (upper**k - lower.clip(lower=0) ** k)).sum())


def _tuned(runs: pd.DataFrame, records: Mapping[str, Run]) -> pd.DataFrame:
    """The runs under settings that the data and the net alone make, each with the name of its trial."""
    found = [records[name] for name in runs["run_id"]]
    texts = [run.identity for run in found]
    given = [{key: value for key, value in text.items() if key.startswith(_GIVEN)} for text in texts]
    tuned = [{key: value for key, value in text.items() if not key.startswith(_GIVEN)} for text in texts]
    axes = [tuple(str(run.axes[axis]) for axis in SETTING) for run in found]
    frame = pd.DataFrame(axes, columns=SETTING)
    frame["target"] = frame["target"] + pd.Series(_told(given, axes), dtype=str)
    frame["method"] = runs["method"].to_numpy()
    keys = list(frame[[*SETTING, "method"]].itertuples(index=False, name=None))
    frame["trial"] = _told(tuned, keys)
    frame["score"] = runs["score"].to_numpy(float)
    frame["val"] = pd.to_numeric(runs["val"]).to_numpy(float)
    return frame


def _told(items: Sequence[Mapping[str, str]], keys: Sequence[Hashable]) -> list[str]:
    """Of each run what differs among the runs of its group, as ` key=value`."""
    groups: dict[Hashable, list[Mapping[str, str]]] = {}
    for item, key in zip(items, keys, strict=True):
        groups.setdefault(key, []).append(item)
    differing = {key: sorted(differing_keys(group)) for key, group in groups.items()}
    return [
        "".join(f" {name}={item.get(name)}" for name in differing[key]) for item, key in zip(items, keys, strict=True)
    ]
