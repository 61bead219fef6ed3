"""Bi-Tuning: contrast samples by their class, in the classifier's space and in one of its own."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.features.queue import Queue
from transferlab.losses.weight import Weight
from transferlab.tasks.classification import Classification
from transferlab.tasks.labels import described
from transferlab.values import Entered, Value

_KEY = "strategy.losses.bi_tuning"
_direction = full_precision(unit)


@full_precision
def categorical_contrast(
    queries: Tensor, own: Tensor, keys: Tensor, same: Tensor, other: Tensor, temperature: float
) -> Tensor:
    """Draw a query to the keys of its class, all of them at once, and away from those of other classes.

        L = -1 / (1 + K) * sum over the sample's own key and K keys of its class of
            log( e^(q.k / tau) / sum over all keys k' of e^(q.k' / tau) )

    Zhong et al. 2020, "Bi-tuning of Pre-trained Representations" (arXiv:2011.06182). With projections for queries and
    keys it is their categorical contrastive learning loss; with the classifier's weights of the sample's class for the
    query and features for keys it is their contrastive cross-entropy, a softmax over samples where cross-entropy has
    one over classes. With the own key alone it is 0.

    Args:
        queries: unit vectors (B, E).
        own: each sample's own key, unit vectors (B, E).
        keys: of other samples, unit vectors (N, E).
        same: which of the N are of a sample's class (B, N).
        other: which are of another class (B, N); one that is neither is left out.
        temperature: tau, above 0.

    Returns:
        A scalar, the mean over the batch.
    """
    itself = (queries * own).sum(1, keepdim=True) / temperature
    scores = (queries @ keys.T / temperature).masked_fill(~(same | other), -torch.inf)
    logs = torch.cat([itself, scores], 1).log_softmax(1)
    drawn = logs[:, 0] + logs[:, 1:].masked_fill(~same, 0).sum(1)
    return -(drawn / (1 + same.sum(1))).mean()


class BiTuning(TransferLoss):
    """`categorical_contrast` twice: of the classifier's weights with features, and of projections with one another.

    Keys come from a momentum copy of net and projection, of the batch and, from a queue, of past batches.

    Args:
        weight: of both together, beside the task loss.
        dimension: length of a projection.
        temperature: tau.
        queue: how many past samples are keys.
        momentum: of the copy, in [0, 1]; at 1 it stays as it was.

    Raises:
        InputError: a number outside its range.
    """

    def __init__(self, weight: Weight, dimension: int, temperature: float, queue: int, momentum: float) -> None:
        super().__init__(weight)
        if temperature <= 0:
            raise InputError(f"{_KEY}.temperature={temperature}: a number above 0")
        if not 0 <= momentum <= 1:
            raise InputError(f"{_KEY}.momentum={momentum}: a share in [0, 1]")
        for name, number in {"dimension": dimension, "queue": queue}.items():
            if number < 1:
                raise InputError(f"{_KEY}.{name}={number}: at least 1")
        self.dimension, self.temperature, self.length, self.momentum = dimension, temperature, queue, momentum
        self.projection: nn.Module
        self.keys: nn.ModuleDict
        self.queue: Queue

    def prepare(self, setting: Setting) -> None:
        """Build the projection, the momentum copy and the queue.

        Raises:
            InputError: not a task of classes, or a head without one vector a class on the features.
        """
        if not isinstance(setting.task, Classification):
            raise InputError("loss 'bi_tuning' contrasts classes: choose task=classification")
        features, classes = setting.backbone.features, setting.classes["target"]
        weights = getattr(setting.head, "weight", None)
        if not isinstance(weights, Tensor) or weights.shape != (classes, features):
            raise InputError(
                "loss 'bi_tuning' reads the classifier's weights, one vector of the features' length for each class: "
                "choose task/head=linear or cosine"
            )
        self.projection = nn.Linear(features, self.dimension)
        copies = {"backbone": setting.backbone, "projection": self.projection}
        self.keys = nn.ModuleDict(copy.deepcopy(copies)).requires_grad_(False)
        biased = int(getattr(setting.head, "bias", None) is not None)
        self.queue = Queue(self.length, features=features + biased, projections=self.dimension)

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch; in training the copy follows the net, and the queue takes in the batch.

        Raises:
            InputError: labels that are not one class a sample, as those of mixed images are.
        """
        target = step.domain("target", "bi_tuning")
        y = target.y
        if y.ndim != 1 or y.is_floating_point():
            raise InputError(
                f"loss 'bi_tuning' takes one class a sample, these labels are {described(y)}: choose an augmentation "
                "that does not mix images"
            )
        if self.training:
            self._follow(step.backbone)
        projections = _direction(self.projection(target.features))
        key_features, key_projections = self._look(step, target.x)
        same, other = self.queue.others(y)
        past = self.queue.behind("projections", key_projections)
        by_projection = categorical_contrast(projections, key_projections, past, same, other, self.temperature)
        features, past = _biased(step.head, target.features), self.queue.behind("features", key_features)
        by_classifier = categorical_contrast(_weights(step.head)[y], features, past, same, other, self.temperature)
        if self.training:
            self.queue.push(y, features=key_features, projections=key_projections)
        return by_classifier + by_projection

    @torch.no_grad()
    def _follow(self, backbone: nn.Module) -> None:
        """`k <- m * k + (1 - m) * q` for each parameter, He et al. 2020, equation 2."""
        now = *backbone.parameters(), *self.projection.parameters()
        for key, query in zip(self.keys.parameters(), now, strict=True):
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def _look(self, step: Step, x: Value | Entered) -> tuple[Tensor, Tensor]:
        """Keys of a batch: features and projections of the copy, each of its modules in the mode of the net's."""
        copied = self.keys["backbone"]
        for key, query in zip(copied.modules(), step.backbone.modules(), strict=True):
            key.training = query.training
        features = copied(x)
        return _biased(step.head, features), _direction(self.keys["projection"](features))


def _weights(head: nn.Module) -> Tensor:
    """The classifier's weights as unit vectors (C, E), a bias behind them."""
    bias = getattr(head, "bias", None)
    weights = head.get_parameter("weight")
    return _direction(weights if bias is None else torch.cat([weights, bias[:, None]], 1))


def _biased(head: nn.Module, features: Tensor) -> Tensor:
    """Features as unit vectors (B, E), behind them the 1 that a bias is the weight of."""
    return _direction(features if getattr(head, "bias", None) is None else F.pad(features, (0, 1), value=1.0))
