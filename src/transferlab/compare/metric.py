"""A metric's direction and how its values are written."""

from dataclasses import dataclass

import pandas as pd

from transferlab import directions


@dataclass(frozen=True)
class Metric:
    """How a metric is read.

    Attributes:
        name: as in the records, e.g. `test/accuracy`.
    """

    name: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return directions.sign(self.name)

    @property
    def is_share(self) -> bool:
        """Whether values in [0, 1] are shown as percent."""
        return directions.is_share(self.name)

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} %" if self.is_share else self.name

    def text(self, value: float | None, sign: str = "") -> str:
        """A value as it is shown; a dash where there is none.

        Args:
            value: in the metric's own unit.
            sign: `+` to show that of positive values too.
        """
        if value is None or pd.isna(value):
            return "-"
        return f"{100 * value:{sign}.1f}" if self.is_share else f"{value:{sign}.4f}"

    def interval(self, low: float | None, high: float | None, sign: str = "") -> str:
        """` [low, high]`; nothing where there are no bounds."""
        if low is None or high is None or pd.isna(low) or pd.isna(high):
            return ""
        return f" [{self.text(low, sign)}, {self.text(high, sign)}]"
