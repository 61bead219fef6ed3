"""Regression: one number a sample, or several."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.wrappers import MultioutputWrapper

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError, unknown
from transferlab.tasks import labels, report, resampling
from transferlab.values import Value

_LOSSES: dict[str, Callable[..., Tensor]] = {"squared": F.mse_loss, "absolute": F.l1_loss, "huber": F.huber_loss}


class Regression:
    """A loss on (B, K) outputs and (B,) or (B, K) targets; a target that is NaN is missing.

    The net learns targets standardised by mean and deviation of the training targets, so that a learning rate means the
    same whatever their unit; these two are buffers of the head, whose outputs are in the targets' own unit.

    Args:
        head: builds the head from (features, K).
        metric: by which an epoch is chosen.
        loss: of standardised targets: `squared`, `absolute`, or `huber` (Huber 1964, squared up to one deviation).

    Raises:
        InputError: no such loss.
    """

    dense = False
    reconstructs = False

    def __init__(self, head: Callable[[int, int], nn.Module], metric: str, loss: str) -> None:
        if loss not in _LOSSES:
            raise unknown("task.loss", loss, _LOSSES)
        self._head = head
        self.metric = metric
        self._loss = _LOSSES[loss]
        self._scale: tuple[Tensor, Tensor] | None = None

    def fit(self, y: Tensor, outputs: int) -> None:
        """Take mean and deviation of the training targets.

        Raises:
            InputError: labels that are no numbers, or an output of which no training target is known.
        """
        if y.ndim > 2:
            raise InputError(f"task=regression takes numbers (N,) or (N, K), these labels are {labels.described(y)}")
        columns = y.reshape(len(y), -1).double()
        known = ~columns.isnan()
        if not known.any(0).all():
            output = int((~known.any(0)).nonzero()[0])
            raise InputError(
                f"task=regression: output {output} has no known target among {len(y)} training samples; leave it out, "
                "or see more labels"
            )
        mean = columns.nanmean(0)
        deviation = (columns - mean).square().nanmean(0).sqrt()
        self._scale = mean.float(), torch.where(deviation > 0, deviation, 1).float()

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head from (B, features) to (B, K), in the targets' unit."""
        mean, deviation = self._unit(outputs)
        return InUnit(self._head(backbone.features, len(mean)), mean, deviation)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean loss over the batch's known targets, in deviations; 0 if it has none."""
        deviation = self._unit(outputs.shape[1])[1].to(outputs)
        y = y.reshape(outputs.shape).to(outputs)
        known = ~y.isnan()
        # a missing target is taken as met: its loss and its gradient are 0
        wanted = torch.where(known, y, outputs.detach())
        losses = self._loss(outputs / deviation, wanted / deviation, reduction="none")
        return losses.sum() / known.sum().clamp_min(1)

    def counted(self, y: Tensor) -> Tensor:
        """The known targets."""
        return (~y.isnan()).sum()

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and targets standardised, so that squares of large numbers keep their digits."""
        mean, deviation = (tensor.to(outputs.device) for tensor in self._unit(outputs.shape[1]))
        return (outputs.float() - mean) / deviation, (y.reshape(outputs.shape).float() - mean) / deviation

    def probabilities(self, outputs: Tensor) -> None:
        """None: these are no classes."""

    def metrics(self, outputs: int) -> MetricCollection:
        """Mean absolute error and root mean squared error in the targets' unit, share of variance explained.

        Each is averaged over the outputs.
        """
        deviation = self._unit(outputs)[1]
        return MetricCollection(
            {
                "mean_absolute_error": MeanOverOutputs(MeanAbsoluteError(), deviation, least=1),
                "root_mean_squared_error": MeanOverOutputs(MeanSquaredError(squared=False), deviation, least=1),
                "r2": MeanOverOutputs(R2Score(), torch.ones_like(deviation), least=2),
            }
        )

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and targets in their own unit, (B, K)."""
        return outputs.float(), y.reshape(outputs.shape).float()

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals, and scores of each output."""
        metrics = {
            "mean_absolute_error": resampling.absolute_error,
            "root_mean_squared_error": resampling.root_squared_error,
            "r2": resampling.r2,
        }
        return report.on_outputs(kept, y, metrics, lambda known: known)

    def _unit(self, outputs: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the outputs (K,); before the training targets are known, 0 and 1 for as many."""
        return self._scale or (torch.zeros(max(outputs, 1)), torch.ones(max(outputs, 1)))


class InUnit(nn.Module):
    """A head whose standardised outputs are brought to the targets' unit: `mean + deviation * head(x)`.

    Args:
        head: gives (B, K).
        mean: of the training targets, (K,).
        deviation: likewise.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, head: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", mean.clone())
        self.register_buffer("deviation", deviation.clone())

    def forward(self, features: Tensor) -> Tensor:
        """The outputs in their unit, (B, K)."""
        outputs: Tensor = self.mean + self.deviation * self.head(features)
        return outputs


class MeanOverOutputs(MultioutputWrapper):
    """The mean over the outputs of a metric of their known targets; NaN if none has enough of them.

    Args:
        metric: of one output.
        unit: by which each output's metric is multiplied, (K,).
        least: known targets below which the metric is not defined.
    """

    unit: Tensor

    def __init__(self, metric: Metric, unit: Tensor, least: int) -> None:
        super().__init__(metric, len(unit), squeeze_outputs=True)
        self.register_buffer("unit", unit.clone(), persistent=False)
        self.least = least

    def compute(self) -> Tensor:
        """The mean."""
        counted: Any = zip(self.unit, self.metrics, strict=True)
        defined = [unit * metric.compute() for unit, metric in counted if int(metric.total) >= self.least]
        return torch.stack(defined).mean() if defined else self.unit.new_tensor(float("nan"))
