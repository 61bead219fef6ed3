"""Labelled time series in memory, and what becomes of steps that were not measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from transferlab.data.ragged import Ragged
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input, expect
from transferlab.inputs.series import SeriesInput
from transferlab.values import Seq

Steps = NDArray[np.floating[Any]]
"""One series, (T, C); NaN where nothing was measured."""


@dataclass(frozen=True)
class Series:
    """Labelled time series in memory, of any lengths and as many channels each."""

    held: Ragged

    @property
    def y(self) -> Tensor:  # noqa: D102
        return self.held.y

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Seq, Tensor]:
        return self.held[indices]

    def take(self, indices: Tensor) -> "Series":  # noqa: D102
        return Series(self.held.take(indices))

    def relabelled(self, y: Tensor) -> "Series":  # noqa: D102
        return Series(self.held.relabelled(y))

    def prepared(self, input: Input) -> Ragged:  # noqa: D102
        series = expect(input, SeriesInput, "series", "choose one for series, such as backbone=lstm or backbone=conv1d")
        channels = self.held.steps.shape[1]
        if channels != series.channels:
            raise InputError(
                f"the series have {channels} channels, backbone.input.channels={series.channels}; "
                f"set backbone.input.channels={channels}"
            )
        if series.length is None:
            return self.held
        whole = torch.split(self.held.steps, self.held.lengths.tolist())
        return Ragged.of([fitted(one, series.length, series.fit) for one in whole], self.y)

    def fingerprint(self) -> str:  # noqa: D102
        return self.held.fingerprint()


def fitted(x: Tensor, length: int, fit: str) -> Tensor:
    """A series (T, C) brought to a length, as `SeriesInput` says."""
    if fit == "crop":
        return x[:length]
    return F.interpolate(x.T[None], size=length, mode="linear", align_corners=True)[0].T


def filled(x: Steps, missing: str, name: str) -> Steps:
    """A series whose steps all have a number.

    Args:
        x: (T, C).
        missing: what a step becomes that was not measured: `zero`; `forward`, the last known number of its channel,
            the first known one where none came before, 0 where there is none; or `refuse`.
        name: of the series, for messages.

    Raises:
        InputError: a step is infinite, or missing where `missing` is `refuse`; or an unknown word.
    """
    if missing not in ("refuse", "zero", "forward"):
        raise unknown("target.data.missing", missing, ("refuse", "zero", "forward"))
    if (infinite := np.isinf(x).any(1)).any():
        raise InputError(f"{name} is infinite at step {int(infinite.argmax())}; mend or remove it")
    if not (gaps := np.isnan(x).any(1)).any():
        return x
    if missing == "refuse":
        raise InputError(
            f"{name} has no number at step {int(gaps.argmax())}; set target.data.missing=zero or forward "
            "(of a source: source.pretrain.target.data.missing), or fill it yourself"
        )
    if missing == "forward":
        x = pd.DataFrame(x).ffill().bfill().to_numpy()
    return np.nan_to_num(x, nan=0.0)


def gathered(series: Sequence[Steps], y: Tensor, missing: str, names: Sequence[str]) -> Series:
    """Samples of these series, or a sentence on what is wrong with them.

    Args:
        series: (T_i, C).
        y: labels, (N, ...).
        missing: see `filled`.
        names: of each series, for messages.

    Raises:
        InputError: a series without steps, with other channels than the first or with a number that is none.
    """
    for name, one in zip(names, series, strict=True):
        if not len(one):
            raise InputError(f"{name} has no steps; remove it")
        if one.shape[1] != series[0].shape[1]:
            raise InputError(
                f"{name} has {one.shape[1]} channels, {names[0]} has {series[0].shape[1]}: every series has the same"
            )
    steps = [torch.from_numpy(filled(one, missing, name)).float() for one, name in zip(series, names, strict=True)]
    return Series(Ragged.of(steps, y))
