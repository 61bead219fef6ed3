"""What a head starts from, where that is not chance."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from transferlab import results
from transferlab.backbones.weights import read_tensors
from transferlab.errors import InputError
from transferlab.tasks.prototypes import Starter


def starter(head: nn.Module) -> Starter | None:
    """The head, if it starts from more than chance.

    Raises:
        InputError: the task wraps such a head, so that its outputs are no classes.
    """
    if isinstance(head, Starter):
        return head
    if any(isinstance(part, Starter) for part in head.modules()):
        raise InputError(
            "this task.head starts from the names of its classes, which this task has none of: choose "
            "task=classification, or another task/head"
        )
    return None


def check_names(weights: str, classes: Sequence[str]) -> None:
    """See that a head which no label of the target will correct was trained on the target's classes, in their order.

    Raises:
        InputError: the run that the weights are of had others.
    """
    theirs = ((results.read(Path(weights).parent) or {}).get("data") or {}).get("classes")
    if theirs and list(theirs) != list(classes):
        raise InputError(
            f"strategy.head=source: the source's head tells {', '.join(theirs)} apart, in this order, the target has "
            f"{', '.join(classes)}; without labels of the target they must be the same"
        )


def carry_head(head: nn.Module, weights: str) -> None:
    """Give a new head the values of the source's own.

    Raises:
        InputError: the source has no head here, or one of another kind or with other outputs.
    """
    known = read_tensors(Path(weights)) if Path(weights).is_file() else {}
    state = {key.removeprefix("head."): value for key, value in known.items() if key.startswith("head.")}
    if not state:
        raise InputError(f"strategy.head=source: {weights} holds no head; a source that is pretrained here has one")
    wanted = {key: tuple(value.shape) for key, value in head.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if wanted != found:
        raise InputError(
            f"strategy.head=source: the source's head is {found}, the target needs {wanted}; "
            "it fits where both have the same task.head and as many classes"
        )
    head.load_state_dict(state)
