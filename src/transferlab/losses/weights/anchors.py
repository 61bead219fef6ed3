"""The weights that a run starts from, for penalties that pull back to them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting


class Anchors(nn.Module):
    """Copies, as buffers, of the weights that come from the source: the backbone's and those of a carried head."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._new_head = True

    def keep(self, setting: Setting, reader: str) -> None:
        """Take the copies.

        Args:
            setting: of the run.
            reader: the loss, for messages.

        Raises:
            InputError: the backbone has random weights, so there is no starting point worth keeping, or some that
                no source has.
        """
        if setting.backbone.added:
            raise InputError(
                f"loss '{reader}' pulls towards the source's weights, and those that strategy.adapter puts into the "
                "net are none of them: choose an adapter that puts in nothing (strategy/adapter=bitfit, norms), or "
                "another loss"
            )
        if not setting.from_source:
            raise InputError(
                f"loss '{reader}' pulls towards the source's weights, and this run starts from none: set source"
            )
        self._new_head = not setting.head_from_source
        shared = self.shared(setting.backbone, setting.head)
        for number, parameter in enumerate(shared):
            self.register_buffer(f"start_{number}", parameter.detach().clone())
        self._count = len(shared)

    @property
    def start(self) -> list[Tensor]:
        """The copies, in the order of `shared`."""
        return [self.get_buffer(f"start_{number}") for number in range(self._count)]

    def shared(self, backbone: nn.Module, head: nn.Module) -> list[nn.Parameter]:
        """The weights that come from the source."""
        return [*backbone.parameters(), *(() if self._new_head else head.parameters())]

    def new(self, head: nn.Module) -> list[nn.Parameter]:
        """The others: those of a new head."""
        return list(head.parameters()) if self._new_head else []


def squared(weights: Iterable[Tensor]) -> Tensor:
    """The sum of the squares of all weights, of any shapes; 0 of none."""
    return sum((w.square().sum() for w in weights), torch.zeros(()))
