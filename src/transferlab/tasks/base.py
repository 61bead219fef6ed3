"""What a kind of problem brings to a run, and how a net's outputs come about."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from transferlab.backbones.base import Backbone
from transferlab.values import Entered, Value

M = TypeVar("M", bound=nn.Module)


class Task(Protocol):
    """Head, loss and metrics of a kind of problem.

    Outputs are what the head gives: a tensor, or whatever else the task's own loss and `scored` understand.
    """

    metric: str
    """The metric by which an epoch is chosen, one of `metrics`; a name that ends in `loss` or `error` is minimised."""
    dense: bool
    """Whether the head takes maps or sequences, from a backbone whose chain ends before its pooling."""
    reconstructs: bool
    """Whether the labels are the inputs themselves."""

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head.

        A head whose attribute `reads` names stages takes their outputs, as a list, in place of the features. One whose
        attribute `from_source` is true has weights that came with the backbone's.

        Args:
            backbone: that it stands on; already without its tail if the task is dense.
            outputs: how many classes or other outputs the data name.
            example: a small input, to see what the backbone makes of it.

        Raises:
            InputError: the data's outputs or the backbone do not fit the task.
        """
        ...

    def loss(self, outputs: Any, y: Tensor) -> Tensor:
        """The task loss, a scalar; missing labels do not enter it."""
        ...

    def scored(self, outputs: Any, y: Tensor) -> tuple[Any, Any]:
        """Predictions and labels as the metrics take them."""
        ...

    def probabilities(self, outputs: Any) -> Tensor | None:
        """Of each class, (B, C), rows sum to 1; None where a sample has not one class out of several."""
        ...

    def metrics(self, outputs: int) -> MetricCollection:
        """New metrics for validation and test, named as they are logged; each computes one number."""
        ...


@runtime_checkable
class Counting(Protocol):
    """A task whose batches differ in how many labels they have: those that are missing, words, pixels."""

    def counted(self, y: Tensor) -> Tensor:
        """By what the batch's loss is a mean: the number of its known labels, or the sum of their weights."""
        ...


def counted(task: Task, y: Tensor) -> float:
    """What a batch's loss counts in the mean over several batches; of most tasks the number of samples."""
    return task.counted(y).item() if isinstance(task, Counting) else len(y)


def own(metrics: M) -> M:
    """Metrics, or one, that are of this process alone: each of several processes looks at all samples; in place."""
    for part in metrics.modules():
        if isinstance(part, Metric):
            part.distributed_available_fn = _never
    return metrics


def _never() -> bool:
    return False


def observe(
    backbone: Backbone, head: nn.Module, x: Value | Entered, keep: Collection[str] = ()
) -> tuple[Any, Mapping[str, Any], Any]:
    """Send a batch through backbone and head.

    Args:
        backbone: with `head` behind it.
        head: takes features (B, F), or the outputs of the stages that its `reads` names.
        x: as the backbone takes it.
        keep: stages whose outputs are wanted too.

    Returns:
        Features, kept activations by stage, and the head's outputs.
    """
    reads = tuple(getattr(head, "reads", ()))
    features, activations = backbone.observe(x, {*keep, *reads})
    return features, activations, head([activations[stage] for stage in reads] if reads else features)
