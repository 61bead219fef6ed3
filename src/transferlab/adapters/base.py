"""What an adapter is: it says what of a stage trains, as a freezing schedule says when."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.values import Value


class Adapter(ABC):
    """A few parameters, put into a backbone or chosen of its own, that train in place of all.

    A stage that the freezing schedule trains trains these alone; everything else of it stays frozen, in evaluation
    mode. The head trains as ever.

    Args:
        save: what a run keeps: `alone`, what can change of the backbone, and the head; `merged`, a whole backbone under
            its library's own names, that knows nothing of the adapter, and the head.

    Raises:
        InputError: another word, or an adapter that nothing can merge.
    """

    merges: ClassVar[bool] = False
    """Whether a plain net can compute the same."""
    linear: ClassVar[bool] = False
    """Whether weights between two of its states are those between the two whole nets."""

    reads_input: ClassVar[bool] = False
    """Whether it looks at a net's input beside the chain, so that no batch can enter behind the first stages."""

    def __init__(self, save: Literal["alone", "merged"]) -> None:
        if save not in ("alone", "merged"):
            raise InputError(f"strategy.adapter.save={save}: 'alone' or 'merged'")
        if save == "merged" and not self.merges:
            raise InputError("strategy.adapter.save=merged: a plain net cannot compute what this adapter does: alone")
        self.save = save

    def insert(self, backbone: Backbone, example: Value) -> None:
        """Put it into a backbone that holds its starting weights.

        Args:
            backbone: is changed in place.
            example: a small input, as the backbone takes it.

        Raises:
            InputError: the backbone has nothing that it could adapt.
        """
        net = backbone.net
        parameters, modules = {id(p) for p in net.parameters()}, {id(m) for m in net.modules()}
        self.put(backbone, example)
        net.requires_grad_(True)
        backbone.added = frozenset(name for name, p in net.named_parameters() if id(p) not in parameters)
        backbone.limit(
            {name for name, _ in net.named_parameters() if name in backbone.added or self.chooses(net, name)},
            {path for path, m in net.named_modules() if id(m) not in modules or self.enlivens(m)},
        )

    @abstractmethod
    def put(self, backbone: Backbone, example: Value) -> None:
        """Change the net, and have the backbone read it again.

        Raises:
            InputError: there is nothing to adapt.
        """

    def chooses(self, net: nn.Module, name: str) -> bool:
        """Whether a parameter that was there before trains too."""
        return False

    def enlivens(self, module: nn.Module) -> bool:
        """Whether a module that was there before is in training mode too."""
        return False

    def merge(self, backbone: Backbone) -> None:  # noqa: B027 - not every adapter needs it
        """Make a plain net of an adapted one, which computes the same in evaluation mode; here there is nothing to do.

        Args:
            backbone: is changed in place.
        """
