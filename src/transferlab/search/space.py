"""What a key may be in a search, as Hydra's sweepers write it. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf

from transferlab.composing import values
from transferlab.errors import InputError


@dataclass(frozen=True)
class Dimension:
    """The values of one key: an interval of numbers, or some that are named.

    Attributes:
        key: as in an override.
        text: its values as they were written.
        choices: each as in an override; none: it is an interval.
        low: the least number.
        high: the greatest.
        log: whether as many are drawn between 1 and 10 as between 10 and 100.
        whole: whether numbers are whole.
    """

    key: str
    text: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def distribution(self) -> Any:
        """The same for Optuna."""
        from optuna import distributions

        if self.choices:
            return distributions.CategoricalDistribution(self.choices)
        if self.whole:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)

    def word(self, value: Any) -> str:
        """The override for one of the values."""
        return f"{self.key}={value}" if self.choices else f"{self.key}={value!r}"

    def place(self, value: Any) -> Any | None:
        """What Optuna calls a value of a config; None where it is not among these."""
        if self.choices:
            return next((choice for choice in self.choices if _same(choice, value)), None)
        is_number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        return value if is_number and self.low <= value <= self.high else None

    def default(self, config: DictConfig) -> Any | None:
        """What Optuna calls the value that a config has; None where it is not among these.

        Args:
            config: of a run, with its `hydra` section.
        """
        choices, key = config.hydra.runtime.choices, self.key.lstrip("+")
        value = choices[key] if key in choices else OmegaConf.select(config, key)
        return self.place(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def dimension(override: Override) -> Dimension:
    """What an override with several values asks for.

    Raises:
        InputError: it is an interval without an inside, or has no value.
    """
    key, text = override.get_key_element(), str(override.input_line).partition("=")[2]
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep):
        if not (choices := tuple(values(override))):
            raise InputError(f"{key}={text} has no value: give some")
        return Dimension(key, text, choices)
    low, high, log = float(sweep.start or 0), float(sweep.end or 0), "log" in sweep.tags
    if not low < high or (log and low <= 0):
        raise InputError(f"{key}={text}: an interval(a,b) has a < b, and one with tag(log, ...) 0 < a")
    return Dimension(key, text, (), low, high, log, all(isinstance(end, int) for end in (sweep.start, sweep.end)))


def said(space: Mapping[str, Dimension]) -> list[str]:
    """A line for each dimension."""
    return [f"{one.key}={one.text}" for one in space.values()]


def _same(choice: str, value: Any) -> bool:
    """Whether an override's text is a value of a config."""
    return bool(OmegaConf.create(f"value: {choice}").value == value)
