"""What is scored after each epoch beside the declared rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from transferlab.partials import settled
from transferlab.selection.collapse import Collapse
from transferlab.selection.rules import Rule


@dataclass(frozen=True)
class Rules:
    """The settings of `conf/rules`.

    Attributes:
        samples: of each part that rules look at, at most.
        collapse: says of what is `Seen` whether predictions on the target have collapsed; None: nobody asks.
        beside: rules by name, scored beside the declared one.
    """

    samples: int
    collapse: Callable[..., Collapse | None] | None
    beside: Mapping[str, Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "beside", {name: settled(rule) for name, rule in self.beside.items()})
