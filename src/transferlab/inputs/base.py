"""What a backbone takes: the contract between a net and whatever data are brought to it."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from transferlab.errors import InputError
from transferlab.values import Value

Shape = Sequence[int]


class Input(Protocol):
    """The kind of input that a backbone takes; `Samples.prepared` brings data to it once, before training."""

    @property
    def kind(self) -> str:
        """In a word, for messages: `images`, `texts`, ..."""
        ...

    def normalised(self, x: Value) -> Value:
        """A batch as the net takes it, made on its device from what `Samples` fetched."""
        ...

    def example(self, count: int) -> Value:
        """`count` small made-up inputs as the net takes them, the same ones at every call."""
        ...


Wanted = TypeVar("Wanted", bound=Input)


def expect(given: Input, wanted: type[Wanted], data: str, hint: str) -> Wanted:
    """The input, if it is of the kind that data of a kind can be brought to.

    Args:
        given: of the backbone.
        wanted: the class that fits the data.
        data: their kind, for the message: `texts`.
        hint: what to choose instead.

    Raises:
        InputError: the backbone takes something else.
    """
    if not isinstance(given, wanted):
        raise InputError(f"the backbone takes {given.kind}, the data are {data}: {hint}")
    return given
