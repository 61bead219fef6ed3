"""Values and tables as JSON has them."""

from typing import Any, TypeAlias

import pandas as pd

Columns: TypeAlias = dict[str, list[Any]]


def columns(frame: pd.DataFrame) -> Columns:
    """A table column by column."""
    return {str(name): [plain(value) for value in frame[name].tolist()] for name in frame.columns}


def plain(value: Any) -> Any:
    """A value as JSON has it: NaN and None are null, infinity is `inf`, what JSON does not know is text."""
    if isinstance(value, float) and value - value != 0:
        return None if value != value else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return plain(value.item()) if hasattr(value, "item") else None if value is pd.NA else str(value)
