"""Pairs of a user and an item, each a row of a table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.values import Value


@dataclass(frozen=True)
class IdsInput:
    """Who rates what: (B, 2) int64, the user's row and the item's.

    Args:
        users: rows of the users' table.
        items: rows of the items' table.

    Raises:
        InputError: a table without rows.
    """

    users: int
    items: int

    def __post_init__(self) -> None:
        for key, rows in (("users", self.users), ("items", self.items)):
            if rows < 1:
                raise InputError(f"backbone.input.{key}={rows}: a table has at least 1 row")

    @property
    def kind(self) -> str:
        """Pairs of ids."""
        return "pairs of a user and an item"

    def normalised(self, x: Value) -> Tensor:
        """As they are."""
        assert isinstance(x, Tensor)
        return x.long()

    def example(self, count: int) -> Tensor:
        """The first users with the last items."""
        rows = torch.arange(count)
        return torch.stack([rows % self.users, (self.items - 1 - rows) % self.items], 1)
