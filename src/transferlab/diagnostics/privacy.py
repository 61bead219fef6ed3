"""Privacy: how well a net's answers tell the samples that its source was trained on from others."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.diagnostics.forgetting import answered
from transferlab.diagnostics.probe import Probe, undisturbed
from transferlab.tasks.base import Task

Numbers: TypeAlias = npt.NDArray[np.float64]
Classes: TypeAlias = npt.NDArray[np.int64]

FALSE_ALARMS = 0.01
"""The share of non-members taken for members at which the share of members found is told."""
_LEAST_PROBABILITY = 1e-30  # float32 still has it
_LEAST_VARIANCE = 1e-6


def told_apart(members: Numbers, nonmembers: Numbers) -> dict[str, float]:
    """How well a threshold on a score, above which a sample is taken for a member, tells members from non-members.

    Args:
        members: scores of samples that were trained on, (M,).
        nonmembers: of samples that were not, (N,).

    Returns:
        `advantage`, the largest true positive rate less false positive rate over all thresholds (Yeom et al. 2018,
        definition 4); `auc`, the area under the curve of the two rates, ties counted half; `tpr_at_1_percent_fpr`, the
        largest true positive rate at a false positive rate of at most `FALSE_ALARMS`.
    """
    thresholds = np.unique(np.concatenate([members, nonmembers]))[::-1]
    found, wrong = (
        np.append(0.0, (len(scores) - np.searchsorted(np.sort(scores), thresholds)) / len(scores))
        for scores in (members, nonmembers)
    )
    return {
        "advantage": float((found - wrong).max()),
        "auc": float((np.diff(wrong) * (found[1:] + found[:-1]) / 2).sum()),
        "tpr_at_1_percent_fpr": float(found[wrong <= FALSE_ALARMS].max()),
    }


def loss_threshold(members: Numbers, nonmembers: Numbers) -> dict[str, float]:
    """The attack that takes samples of a small loss for members.

    Yeom et al. 2018, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting" (CSF), adversary 2,
    with the best threshold in hindsight in place of their mean training loss.

    Args:
        members: losses of samples that were trained on, (M,).
        nonmembers: of samples that were not, (N,).

    Returns:
        As `told_apart`.
    """
    return told_apart(-members, -nonmembers)


def likelihood_ratios(
    members: Numbers, their_classes: Classes, nonmembers: Numbers, other_classes: Classes
) -> tuple[Numbers, Numbers]:
    """Log likelihood ratios of membership, each from Gaussians that were fitted to the other half of the samples.

    A light form of LiRA (Carlini et al. 2022, "Membership Inference Attacks From First Principles", IEEE S&P, section
    V). Theirs fits two Gaussians to each sample, from many shadow models that were trained with it and without it. Here
    is one net: the Gaussians are those of a class, of members and of non-members, with a mean for each class and one
    variance over all, and whose half is known is known for certain. It knows how confident the net is in members of a
    class, and not how hard a sample is; so it is weaker than theirs, and no bound on what an attacker can find out.

    Args:
        members: logit-scaled confidences `log(p / (1 - p))` in the true class, of samples trained on, (M,), M >= 2.
        their_classes: (M,).
        nonmembers: of samples that were not, (N,), N >= 2.
        other_classes: (N,).

    Returns:
        Ratios of the members, (M,), and of the non-members, (N,).
    """
    sets = [(members, their_classes), (nonmembers, other_classes)]
    halves = [_alternate(classes) for _, classes in sets]
    ratios = np.empty_like(members), np.empty_like(nonmembers)
    for known in (True, False):
        inside, outside = (
            _Gaussians.of(confidences[half == known], classes[half == known])
            for (confidences, classes), half in zip(sets, halves, strict=True)
        )
        for ratio, (confidences, classes), half in zip(ratios, sets, halves, strict=True):
            asked = confidences[half != known], classes[half != known]
            ratio[half != known] = inside.log_density(*asked) - outside.log_density(*asked)
    return ratios


@dataclass(frozen=True)
class _Gaussians:
    """One for each class, of one variance; a class that was not seen has the mean over all."""

    means: dict[int, float]
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Numbers, classes: Classes) -> "_Gaussians":
        means = {int(one): float(values[classes == one].mean()) for one in np.unique(classes)}
        rest = values - np.array([means[int(one)] for one in classes])
        variance = float(rest @ rest) / max(1, len(values) - len(means))
        return cls(means, float(values.mean()), max(variance, _LEAST_VARIANCE))

    def log_density(self, values: Numbers, classes: Classes) -> Numbers:
        """Up to a constant that all share."""
        means = np.array([self.means.get(int(one), self.mean) for one in classes])
        density: Numbers = -((values - means) ** 2) / (2 * self.variance) - np.log(self.variance) / 2
        return density


def _alternate(classes: Classes) -> npt.NDArray[np.bool_]:
    """Two halves in which each class is alike often, whatever the order of the samples."""
    half = np.zeros(len(classes), bool)
    half[np.argsort(classes, kind="stable")[1::2]] = True
    return half


@dataclass(frozen=True)
class Membership:
    """Samples that a source was trained on, as many that it was not, and how well it tells them apart before transfer.

    Attributes:
        members: of the training samples of the source's own run, evenly spaced.
        nonmembers: of its test split, likewise.
        head: the source's own.
        task: the source's, one class out of several.
        before: what the attacks find out from the source's net, as `attacks` gives it.
    """

    members: Probe
    nonmembers: Probe
    head: nn.Module
    task: Task
    before: dict[str, dict[str, float]]

    def said(self, backbone: Backbone) -> dict[str, Any]:
        """What the attacks find out before transfer and after, both under the source's own head.

        Args:
            backbone: after transfer.

        Returns:
            `before` and `after`, each by attack as `told_apart`; `samples`, of members and of non-members each.
        """
        head = self.head.to(next(backbone.parameters(), torch.empty(0)).device)
        after = attacks(backbone, head, self.task, self.members, self.nonmembers)
        return {"before": self.before, "after": after, "samples": len(self.members)}


def attacks(
    backbone: Backbone, head: nn.Module, task: Task, members: Probe, nonmembers: Probe
) -> dict[str, dict[str, float]]:
    """What two attacks find out from the cross-entropy of the true class; it is their score, whatever the task's loss.

    Returns:
        `loss_threshold` and `likelihood_ratio`, each as `told_apart`.
    """
    with undisturbed(backbone), undisturbed(head):
        (losses, confidences, classes), others = (
            _confidences(backbone, head, task, samples) for samples in (members, nonmembers)
        )
    ratios = likelihood_ratios(confidences, classes, *others[1:])
    return {"loss_threshold": loss_threshold(losses, others[0]), "likelihood_ratio": told_apart(*ratios)}


def _confidences(backbone: Backbone, head: nn.Module, task: Task, samples: Probe) -> tuple[Numbers, Numbers, Classes]:
    """Losses, logit-scaled confidences and classes, (N,) each; `1 - p` is summed up, as it would be rounded to 0."""
    probabilities, y = answered(backbone, head, task, samples)
    y = y.long()
    p = probabilities.double()
    true = p.gather(1, y[:, None])[:, 0].clamp_min(_LEAST_PROBABILITY).log()
    other = p.scatter(1, y[:, None], 0.0).sum(1).clamp_min(_LEAST_PROBABILITY).log()
    return (-true).numpy(), (true - other).numpy(), y.numpy()
