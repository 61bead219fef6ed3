"""A sheet: one topic of a comparison as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from transferlab.compare.settings import SETTING
from transferlab.compare.wording import NONE, one_line


@dataclass(frozen=True)
class Sheet:
    """A table of text that a paper could print.

    Attributes:
        name: the topic, a key of `HEADINGS`; sheets of several settings share it.
        title: the setting, `source -> target, backbone`; the heading where the sheet speaks of all settings.
        columns: their heads.
        rows: cells, as many in each as there are columns; a dash where there is nothing to say.
        note: how it is computed and what the marks mean.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    def frame(self) -> pd.DataFrame:
        """The same as a table of pandas."""
        return pd.DataFrame(list(self.rows), columns=list(self.columns), dtype=object)


def sheet(
    name: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str, keep: int = 1
) -> list[Sheet]:
    """A sheet without the columns that say nothing; none where no row is left.

    Args:
        name: the topic.
        title: of the sheet.
        columns: their heads.
        rows: cells.
        note: under the sheet.
        keep: how many of the first columns stay whatever they say.
    """
    full = [at for at in range(len(columns)) if at < keep or any(row[at] != NONE for row in rows)]
    if not rows:
        return []
    heads = tuple(one_line(columns[at]) for at in full)
    return [Sheet(name, one_line(title), heads, tuple(tuple(one_line(row[at]) for at in full) for row in rows), note)]


def settings(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """The rows of each setting, in order."""
    if len(frame):
        for (source, target, backbone), group in frame.groupby(SETTING, sort=False):
            yield (str(source), str(target), str(backbone)), group


def titled(setting: tuple[str, str, str]) -> str:
    """`source -> target, backbone`."""
    return f"{setting[0]} -> {setting[1]}, {setting[2]}"


def orders(table: pd.DataFrame) -> dict[tuple[str, str, str], list[str]]:
    """The strategies of each setting, best first."""
    return {setting: list(group["strategy"]) for setting, group in settings(table)}


def rules_of(table: pd.DataFrame) -> dict[str, str]:
    """The selection rules that chose the epochs of each strategy, over all of its settings."""
    return {str(name): ", ".join(sorted(set(group))) for name, group in table.groupby("strategy", sort=False)["rule"]}


def in_order(group: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """A setting's rows in the order of its strategies, those of one strategy as they were."""
    rank = {name: at for at, name in enumerate(order)}
    return group.sort_values("strategy", key=lambda names: names.map(rank), kind="stable")
