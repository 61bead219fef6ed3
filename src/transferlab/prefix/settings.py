"""Whether and how a run uses activations that are kept."""

from dataclasses import dataclass
from typing import Literal

import torch

from transferlab.errors import InputError


@dataclass(frozen=True)
class Settings:
    """The settings of `conf/cache/_base.yaml`, which says what each means.

    Raises:
        InputError: a value out of its range.
    """

    use: Literal["auto", "on", "off"]
    dtype: Literal["float32", "bfloat16"]
    views: int
    gigabytes: float
    wait: bool
    files: bool

    def __post_init__(self) -> None:
        for key, words in {"use": ("auto", "on", "off"), "dtype": ("float32", "bfloat16")}.items():
            if getattr(self, key) not in words:
                raise InputError(f"cache.{key}={getattr(self, key)}: {', '.join(words[:-1])} or {words[-1]}")
        if self.views < 0:
            raise InputError(f"cache.views={self.views}: 0, or how many views of a training sample are kept")
        if self.gigabytes <= 0:
            raise InputError(f"cache.gigabytes={self.gigabytes}: above 0; cache=off turns it off")

    @property
    def kind(self) -> torch.dtype | None:
        """Of floating-point numbers in files; None: as they are computed."""
        return torch.bfloat16 if self.dtype == "bfloat16" else None


OFF = Settings("off", "float32", 0, 1.0, True, False)
