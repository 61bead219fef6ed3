"""Embeddings of tasks by Task2Vec, with a candidate's own net as the probe network of both sides."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.prefix.inputs import Inputs
from transferlab.selection.logistic import logistic
from transferlab.transferability.candidate import Array, Labels
from transferlab.transferability.task2vec import embed

_PENALTY = 1.0  # of the head: on |w|^2 / 2 beside the summed loss


def embedding(
    backbone: Backbone, inputs: Inputs, part: str, features: Array | None, y: Array | Labels | None, samples: int
) -> Array | None:
    """Of a part's task: the Fisher information of the net's filters under a linear head that was fitted to the part.

    Args:
        backbone: frozen; its filters have gradients meanwhile.
        inputs: of the samples.
        part: of the data.
        features: of all of its samples, (N, F); None: there is no such part.
        y: their classes, (N,); something else where they have none.
        samples: evenly spaced, that are passed forward and back, each by itself.

    Returns:
        (P,), as many as the net has filters; None where there are no two classes.
    """
    if features is None or y is None or y.dtype != np.int64 or y.ndim != 1 or len(np.unique(y)) < 2:
        return None
    weight, bias = (torch.from_numpy(one).float().to(inputs.device) for one in _head(features, y.astype(np.int64)))
    rows = np.unique(np.linspace(0, len(y) - 1, min(samples, len(y))).round().astype(int)).tolist()
    filters = [parameter for parameter in backbone.parameters() if parameter.ndim > 1]

    def logits() -> Iterator[Tensor]:
        for x, _ in inputs.batches(part, rows, 1):
            with inputs.computing():
                found = backbone(x)
            yield found.float() @ weight.T + bias

    for parameter in filters:
        parameter.requires_grad_(True)
    found = embed(logits(), filters).double().cpu().numpy()
    backbone.requires_grad_(False)
    return found if found.any() else None


def _head(features: Array, y: Labels) -> tuple[Array, Array]:
    """Weights (C, F) and biases (C,) on features as they are."""
    scaler, fitted = (step for _, step in logistic(features, y, _PENALTY).steps)
    weight = fitted.coef_ / scaler.scale_
    bias = fitted.intercept_ - weight @ scaler.mean_
    if len(weight) == 1:  # of two classes there is one row, for the second
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias
