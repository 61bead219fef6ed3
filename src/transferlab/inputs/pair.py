"""An image and a text, for nets of two towers."""

from dataclasses import dataclass

from transferlab.inputs.base import Input
from transferlab.values import Pair, Value


@dataclass(frozen=True)
class PairInput:
    """Two inputs of one sample, each as its own tower takes it.

    Args:
        first: of the images' tower.
        second: of the texts' tower.
    """

    first: Input
    second: Input

    @property
    def kind(self) -> str:
        """Pairs of both kinds."""
        return f"pairs of {self.first.kind} and {self.second.kind}"

    def normalised(self, x: Value) -> Pair:
        """Each side by its own rule."""
        assert isinstance(x, Pair)
        return Pair(self.first.normalised(x.first), self.second.normalised(x.second))

    def example(self, count: int) -> Pair:
        """Each side's own."""
        return Pair(self.first.example(count), self.second.example(count))
