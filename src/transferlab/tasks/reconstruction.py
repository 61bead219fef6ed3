"""Reconstruction: the inputs themselves, from their features. The backbone is the encoder, the head the decoder."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanSquaredError, MetricCollection

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks import resampling
from transferlab.values import Value


class Reconstruction:
    """Squared error between outputs and normalised inputs, (B, C, H, W) or (B, D).

    Args:
        head: builds the decoder from (features, shape of an input).
        metric: by which an epoch is chosen.
    """

    dense = False
    reconstructs = True

    def __init__(self, head: Callable[[int, Sequence[int]], nn.Module], metric: str) -> None:
        self._head = head
        self.metric = metric

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new decoder from (B, features) to inputs like the example.

        Raises:
            InputError: the backbone takes neither images nor rows of tables.
        """
        if not isinstance(example, Tensor) or not example.is_floating_point():
            raise InputError("task=reconstruction rebuilds images and tables, not sequences or ids")
        return self._head(backbone.features, example.shape[1:])

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean squared error over samples and numbers."""
        return F.mse_loss(outputs, y)

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and inputs, flat."""
        return outputs.float().flatten(), y.float().flatten()

    def probabilities(self, outputs: Tensor) -> None:
        """None: these are no classes."""

    def metrics(self, outputs: int) -> MetricCollection:
        """Mean squared error."""
        return MetricCollection({"mean_squared_error": MeanSquaredError()})

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The squared error of each sample (B,), in place of images; twice, as there are no labels."""
        errors = (outputs.float() - y.float()).square().flatten(1).mean(1)
        return errors, errors

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """The interval of the mean squared error."""
        mean = partial(resampling.mean, values=kept.double().numpy())
        return {"intervals": resampling.intervals({"mean_squared_error": mean}, len(kept))}
