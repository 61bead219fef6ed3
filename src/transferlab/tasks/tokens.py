"""Token classification: a class for every word of a text, as for named entities or parts of speech."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from transferlab.backbones.base import Backbone
from transferlab.data.tokens import IGNORED
from transferlab.errors import InputError
from transferlab.tasks import labels, resampling
from transferlab.tasks.places import UNKNOWN
from transferlab.tasks.resampling import Floats, ratio
from transferlab.values import Seq, Value


class TokenClassification:
    """Cross-entropy over tokens of (B, T, C) logits and (B, T) labels, -100 where a token has none.

    A word counts once: its first token has its label. Labels may be wider than the batch's longest text; what is
    beyond has none.

    Args:
        head: builds the head from (features of a token, classes).
        class_weights: of each class in the loss: null, `balanced` (by the training labels' counts), or one number each.
        metric: by which an epoch is chosen.
    """

    dense = True
    reconstructs = False

    def __init__(
        self, head: Callable[[int, int], nn.Module], class_weights: str | Sequence[float] | None, metric: str
    ) -> None:
        self._head = head
        self._class_weights = class_weights
        self._weights: Tensor | None = None
        self.metric = metric

    def fit(self, y: Tensor, outputs: int) -> None:
        """Weigh the classes by the training labels.

        Raises:
            InputError: labels that are no rows of classes, none at all, or weights that do not fit them.
        """
        if y.ndim != 2 or y.is_floating_point() or not outputs:
            raise InputError(
                f"task=token_classification takes a class for each word, these labels are {labels.described(y)}: "
                "choose target=conll, or another task"
            )
        if not (known := y[y != IGNORED]).numel():
            raise InputError("no word of the training split has a label")
        self._weights = labels.class_weights(known, outputs, self._class_weights)

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head from tokens (B, T, F) to (B, T, classes).

        Raises:
            InputError: fewer than two classes, or a backbone that has no features of each token.
        """
        if outputs < 2:
            raise InputError(f"the words have {outputs} class; token classification needs at least two")
        return Tokenwise(self._head(_width(backbone, example), outputs))

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy over the batch's labelled words, weighted by class; 0 where no word has a label."""
        y = fitting(y, outputs)
        weights = None if self._weights is None else self._weights.to(outputs)
        total = functional.cross_entropy(
            outputs.flatten(0, 1), y.flatten(), weights, ignore_index=IGNORED, reduction="sum"
        )
        return total / (y != IGNORED).sum().clamp_min(1)

    def counted(self, y: Tensor) -> Tensor:
        """The labelled words."""
        return (y != IGNORED).sum()

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each token (B, T), and the labels of these tokens."""
        return outputs.argmax(2), fitting(y, outputs)

    def probabilities(self, outputs: Tensor) -> None:
        """None: a sample has a class in every word."""

    def placed(self, features: Seq, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every token, and which are no padding; that one begins a word is said by labels alone."""
        return outputs, features.mask

    def vectors(self, backbone: Backbone, features: Seq, outputs: Tensor) -> Tensor:
        """Of every token."""
        return features.h

    def marks(self, y: Tensor, outputs: Tensor) -> Tensor:
        """The classes of words at their first tokens."""
        y = fitting(y, outputs)
        return y.masked_fill(y == IGNORED, UNKNOWN)

    def metrics(self, outputs: int) -> MetricCollection:
        """Accuracy over all words alike; the mean of the classes' F1, the class of what is no entity among them."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(outputs, average="micro", ignore_index=IGNORED),
                "f1": MulticlassF1Score(outputs, average="macro", ignore_index=IGNORED),
            }
        )

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Counts of words by text and class, (B, 3, C), and of labelled ones (B,)."""
        predicted, y = self.scored(outputs, y)
        return counted(predicted, y, outputs.shape[2]), (y != IGNORED).sum(1)

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals over texts, whose words are not drawn apart, and scores of each class."""
        right, said, are = np.moveaxis(kept.double().numpy(), 1, 0)

        def accuracy(weights: Floats) -> Floats:
            found: Floats = ratio((weights @ right).sum(1), (weights @ are).sum(1))
            return found

        def f1(weights: Floats) -> Floats:
            either = weights @ (said + are)
            scores = np.nan_to_num(ratio(2 * (weights @ right), either))
            found: Floats = scores.sum(1) / np.maximum((either > 0).sum(1), 1)
            return found

        every = [part.sum(0) for part in (right, said, are)]
        return {
            "intervals": resampling.intervals({"accuracy": accuracy, "f1": f1}, len(kept)),
            "classes": {
                "words": every[2].astype(int).tolist(),
                "accuracy": ratio(every[0], every[2]).tolist(),
                "f1": ratio(2 * every[0], every[1] + every[2]).tolist(),
            },
        }


class Tokenwise(nn.Module):
    """A head on each token: a sequence (B, T, F) to (B, T, outputs)."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, value: Seq) -> Tensor:
        """Outputs of padding too, which nothing reads."""
        outputs: Tensor = self.head(value.h.flatten(0, 1)).unflatten(0, value.h.shape[:2])
        return outputs


def fitting(y: Tensor, outputs: Tensor) -> Tensor:
    """Labels (B, W) as wide as the outputs (B, T, C): cut, or filled up with `IGNORED`."""
    return functional.pad(y, (0, outputs.shape[1] - y.shape[1]), value=IGNORED)


def counted(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """How many labelled words of each text and class are right, are said to be of it, and are of it: (B, 3, C)."""
    known = y != IGNORED
    said = functional.one_hot(predicted, classes) * known[..., None]
    are = functional.one_hot(y.where(known, 0), classes) * known[..., None]
    return torch.stack([(said * are).sum(1), said.sum(1), are.sum(1)], 1)


def _width(backbone: Backbone, example: Value) -> int:
    """How many features a token has.

    Raises:
        InputError: the backbone takes no sequences, or gives fewer steps than it takes.
    """
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        given = backbone(example)
    backbone.train(training)
    if not isinstance(example, Seq) or not isinstance(given, Seq) or given.h.shape[:2] != example.h.shape[:2]:
        raise InputError(
            f"backbone '{backbone.name}' gives no features of each token, which the task needs: choose one for texts, "
            "such as backbone=minilm"
        )
    return given.h.shape[2]
