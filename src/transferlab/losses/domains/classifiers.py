"""Two classifiers on the same features, for losses that set one against the other."""

from collections.abc import Callable

from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Observation, Setting
from transferlab.tasks import labels
from transferlab.tasks.classification import Classification


def classes(setting: Setting, reader: str) -> int:
    """How many classes the head tells apart.

    Args:
        setting: of the run.
        reader: the loss, for messages.

    Raises:
        InputError: it gives no logit for each class, or there is one class.
    """
    if not isinstance(setting.task, Classification):
        raise InputError(f"loss '{reader}' reads a logit for each class: choose task=classification")
    if setting.classes["target"] < 2:
        raise InputError(f"loss '{reader}' compares classes, and there is one: choose a target with two or more")
    return setting.classes["target"]


def second_head(setting: Setting, reader: str) -> nn.Module:
    """A new head like the run's own, drawn by itself.

    Raises:
        InputError: as for `classes`.
    """
    return setting.task.build_head(setting.backbone, classes(setting, reader), setting.example)


def answers(head: nn.Module, observed: Observation, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A head's logits (B, C) for a batch whose features, or the stages that the head reads, are changed before."""
    reads = tuple(getattr(head, "reads", ()))
    logits: Tensor = head([change(observed.activations[s]) for s in reads] if reads else change(observed.features))
    return logits


def check_unmixed(name: str, y: Tensor) -> None:
    """See that each source sample has one class.

    Raises:
        InputError: it is a mixture, as those of mixed images are.
    """
    if y.ndim != 1 or y.is_floating_point():
        raise InputError(
            f"loss '{name}' takes one class a sample, these labels are {labels.described(y)}: choose an augmentation "
            "that does not mix images"
        )
