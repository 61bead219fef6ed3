"""SHOT: target features under the source's fixed head, sure, of all classes, and near the centroid of their class."""

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, Study
from transferlab.losses.domains.discriminator import length
from transferlab.losses.domains.entropy import entropy
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.domains.reading import mean_vectors
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.weight import Weight
from transferlab.tasks.base import observe

_BATCH = 256


@full_precision
def information_maximisation(logits: Tensor) -> Tensor:
    """Be sure of each sample and, on the whole, of no class: the mean entropy less the entropy of the mean prediction.

    Liang, Hu & Feng 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
    Domain Adaptation" (ICML), equations 3 and 4.

    Args:
        logits: of the target (B, C).

    Returns:
        A scalar in nats, in [-log C, 0].
    """
    diversity: Tensor = torch.special.entr(logits.softmax(1).mean(0)).sum()
    return entropy(logits) - diversity


@full_precision
def shot(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """`information_maximisation` plus beta times the mean cross-entropy to labels: Liang et al. 2020, equation 7.

    Args:
        logits: of the target (B, C).
        labels: pseudo-labels (B,).
        beta: at least 0.

    Returns:
        A scalar.
    """
    return information_maximisation(logits) + beta * F.cross_entropy(logits, labels)


def centroids(features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """A centre of each class among the target's features, in two rounds.

    Liang et al. 2020, equations 5 and 6: first the mean of all features, each by its probability of the class; then
    the mean of those features that lie nearest to that one. A class that no sample is given has no centre, in the
    first round by the largest probability, as in the authors' code.

    Args:
        features: of the whole target (N, F).
        logits: (N, C).

    Returns:
        Centres (C, F), and whether a class has one (C,).
    """
    classes = logits.shape[1]
    shares, labels = logits.softmax(1), logits.argmax(1)
    soft = shares.T @ features / shares.sum(0)[:, None].clamp(min=torch.finfo(shares.dtype).tiny)
    labels = nearest(features, soft, _given(labels, classes))
    hard = F.one_hot(labels, classes).to(features)
    return hard.T @ features / hard.sum(0)[:, None].clamp(min=1), _given(labels, classes)


@full_precision
def nearest(features: Tensor, centres: Tensor, there: Tensor) -> Tensor:
    """The class with the centre at the smallest cosine distance.

    Args:
        features: (B, F).
        centres: (C, F).
        there: whether a class has one (C,).

    Returns:
        Classes (B,).
    """
    return (unit(features) @ unit(centres).T).masked_fill(~there, -torch.inf).argmax(1)


def _given(labels: Tensor, classes: int) -> Tensor:
    """Whether some sample has a class (C,)."""
    return F.one_hot(labels, classes).any(0)


class SHOT(PredictionLoss):
    """`shot` of the target's predictions, with the `nearest` of the epoch's `centroids` for labels.

    Args:
        weight: of both terms.
        beta: of the cross-entropy.

    Raises:
        InputError: a beta below 0.
    """

    restudies = frozenset({"unlabeled"})
    centres: Tensor
    there: Tensor

    def __init__(self, weight: Weight, beta: float) -> None:
        super().__init__("shot", weight)
        if beta < 0:
            raise InputError(f"strategy.losses.shot.beta={beta}: a number from 0 on")
        self.beta = beta

    def prepare(self, setting: Setting) -> None:
        """Make place for the centres.

        Raises:
            InputError: a sample has not one class out of several, or the head knows nothing of a source.
        """
        super().prepare(setting)
        if not (setting.from_source and setting.head_from_source):
            raise InputError(
                "loss 'shot' adapts a net that knows the source's task: set strategy.start=source and "
                "strategy.head=source, with a source that is pretrained here"
            )
        classes = setting.classes["target"]
        self.register_buffer("centres", torch.zeros(classes, length(setting)))
        self.register_buffer("there", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def study(self, study: Study) -> None:
        """Find the centres anew."""
        features, logits = [], []
        for x, _ in study.batches("unlabeled", _BATCH):
            found, _, outputs = observe(study.backbone, study.head, x)
            features.append(mean_vectors(study.backbone, found).float())
            logits.append(outputs.float())
        centres, there = centroids(torch.cat(features), torch.cat(logits))
        self.centres.copy_(centres)
        self.there.copy_(there)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels; its classes are those of the centres of this epoch."""
        target = step.domain("unlabeled", self.name)
        vectors = mean_vectors(step.backbone, target.features).detach()
        labels = nearest(vectors, self.centres.to(vectors), self.there)
        return shot(target.outputs, labels, self.beta)
