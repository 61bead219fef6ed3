"""Co-Tuning: let the source's own head learn too, from what the target's classes are among the source's."""

from math import sqrt
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.errors import InputError, unknown
from transferlab.losses.base import Setting, Step, Study, TransferLoss
from transferlab.losses.outputs.answers import above_zero, answering, carried_heads
from transferlab.losses.weight import Weight
from transferlab.tasks.classification import Classification

_KEY = "strategy.losses.co_tuning"
_APPROACHES = ("direct", "reverse")
_READ = 256  # samples at a time
_HELD_OUT = 5  # one sample in so many of a class
_STRENGTHS = [10 ** (power / 2) for power in range(-8, 9)]  # of the samples beside the penalty


def co_tuning(outputs: Tensor, y: Tensor, relationship: Tensor) -> Tensor:
    """Supervise the source's head with the source's classes of a sample's target class.

    `-sum_s p(y_s = s | y_t) * log q_s`, q the softmax of the outputs: You et al. 2020, "Co-Tuning for Transfer
    Learning" (NeurIPS), the second term of its objective.

    Args:
        outputs: logits of the source's head (B, S).
        y: target classes (B,), or mixtures of them, (B, T) with rows that sum to 1.
        relationship: p(y_s | y_t), (T, S) with rows that sum to 1.

    Returns:
        A scalar, the mean over the batch.
    """
    wanted = y.to(relationship) @ relationship if y.ndim == 2 else relationship[y]
    return F.cross_entropy(outputs, wanted)


def direct(probabilities: Tensor, y: Tensor, classes: int) -> Tensor:
    """The direct way of the paper to p(y_s | y_t): the mean of the source's predictions over each class.

    Args:
        probabilities: of the source's classes for n samples (n, S), rows sum to 1.
        y: their target classes (n,), each of them there.
        classes: T.

    Returns:
        (T, S), rows sum to 1.
    """
    members = F.one_hot(y, classes).to(probabilities)
    return members.T @ probabilities / members.sum(0)[:, None]


def reverse(probabilities: Tensor, y: Tensor, classes: int) -> Tensor:
    """The reverse way of the paper: learn p(y_t | y_s) from the predictions, and turn it around by Bayes.

    Logistic regression from the source's probabilities to the target's classes; where it is given one source class with
    certainty, it says p(y_t | y_s). Its penalty, and the one temperature that calibrates it, are those with the least
    cross-entropy on every fifth sample of a class, which are held out for that.

    Args:
        probabilities: of the source's classes for n samples (n, S), rows sum to 1.
        y: their target classes (n,), each of them there.
        classes: T.

    Returns:
        (T, S), rows sum to 1.

    Raises:
        InputError: no class has two samples, so none can be held out.
    """
    held = _held_out(y, classes)
    if not held.any():
        raise InputError(f"{_KEY}.approach=reverse holds out samples, and no class has two: choose direct")
    x = probabilities.double()
    weights, found, least = x.new_zeros(classes, x.shape[1]), x.new_zeros(0), torch.inf
    for strength in _STRENGTHS:
        weights = logistic(x[~held], y[~held], weights, strength)
        factor, loss = calibrated(x[held] @ weights.T, y[held])
        if loss < least:
            found, least = (factor * weights).T.softmax(1), loss
    return turned(found, x.mean(0)).to(probabilities)


def turned(target_given_source: Tensor, source: Tensor) -> Tensor:
    """`p(y_s | y_t) = p(y_t | y_s) p(y_s) / p(y_t)`.

    Args:
        target_given_source: p(y_t | y_s), (S, T) with rows that sum to 1.
        source: p(y_s), (S,).

    Returns:
        (T, S), rows sum to 1.
    """
    joint = (target_given_source * source[:, None]).T
    return joint / joint.sum(1, keepdim=True)


def logistic(x: Tensor, y: Tensor, start: Tensor, strength: float) -> Tensor:
    """Multinomial logistic regression without intercept: argmin over W of `C * sum of cross-entropies + |W|^2 / 2`.

    Args:
        x: (n, S).
        y: classes (n,).
        start: W to begin with (T, S).
        strength: C, how much the samples count beside the penalty.

    Returns:
        W, (T, S).
    """
    weights = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=200, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        # over C * n, so that one tolerance fits every C
        loss = F.cross_entropy(x @ weights.T, y) + weights.square().sum() / (2 * strength * len(y))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weights.detach()


def calibrated(logits: Tensor, y: Tensor) -> tuple[float, float]:
    """The factor on logits, the inverse of a temperature, with the least cross-entropy.

    Guo et al. 2017, "On Calibration of Modern Neural Networks" (ICML), section 4.2. The cross-entropy is convex in the
    factor, so its slope tells on which side the least lies.

    Args:
        logits: (n, T).
        y: classes (n,).

    Returns:
        The factor, between 0.01 and 100, and the mean cross-entropy.
    """
    low, high = 0.01, 100.0
    own = logits.gather(1, y[:, None])
    for _ in range(40):
        factor = sqrt(low * high)
        slope = ((factor * logits).softmax(1) * logits).sum(1, keepdim=True) - own
        low, high = (factor, high) if slope.mean() < 0 else (low, factor)
    return factor, F.cross_entropy(factor * logits, y).item()


def _held_out(y: Tensor, classes: int) -> Tensor:
    """The second, seventh, twelfth ... sample of each class, (n,)."""
    number = F.one_hot(y, classes).cumsum(0).gather(1, y[:, None])[:, 0]
    return number % _HELD_OUT == 2


class CoTuning(TransferLoss):
    """`co_tuning` through the source's own head, which goes on training, on the target's samples.

    Args:
        weight: lambda of the paper's objective.
        approach: how the relationship is learned, `direct` or `reverse`.
        temperature: of the source's predictions that it is learned from; what calibrates them.

    Raises:
        InputError: another word for `approach`, or a temperature of 0 or less.
    """

    studies = frozenset({"target"})
    asks = "once"

    def __init__(self, weight: Weight, approach: Literal["direct", "reverse"], temperature: float) -> None:
        super().__init__(weight)
        if approach not in _APPROACHES:
            raise unknown(f"{_KEY}.approach", approach, _APPROACHES)
        self.learned = direct if approach == "direct" else reverse
        self.temperature = above_zero(f"{_KEY}.temperature", temperature)
        self.translations = nn.ModuleDict()

    def prepare(self, setting: Setting) -> None:
        """Copy the source's head; until the study each target class is every source class alike.

        Raises:
            InputError: not a task of classes, no teacher, or one without a classifier on features of this length.
        """
        if not isinstance(setting.task, Classification):
            raise InputError("loss 'co_tuning' reads one class a sample: choose task=classification")
        for name, head in carried_heads(setting, "co_tuning").items():
            known = answering(setting, "co_tuning")[name][1]
            self.translations[name] = _Translation(head, setting.classes["target"], known)

    def study(self, study: Study) -> None:
        """Learn the relationship from the target's training samples.

        Raises:
            InputError: a class without samples, or labels that are not one class a sample.
        """
        for name, translation in self.translations.items():
            relationship = cast(_Translation, translation).relationship
            probabilities, y = self._predicted(study, name)
            if missing := (torch.bincount(y, minlength=len(relationship)) == 0).nonzero().flatten().tolist():
                raise InputError(
                    f"loss 'co_tuning' asks what target class {missing[0]} is among the source's, and it has no "
                    "training sample: raise target.labels"
                )
            relationship.copy_(self.learned(probabilities, y, len(relationship)))

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch.

        Raises:
            InputError: labels that are neither one class a sample nor mixtures of classes.
        """
        target = step.domain("target", "co_tuning")
        return step.by_teachers(lambda name: cast(_Translation, self.translations[name])(target.features, target.y))

    def _predicted(self, study: Study, name: str) -> tuple[Tensor, Tensor]:
        """The source's probabilities of its classes for the target's samples, and their target classes."""
        batches = study.batches("target", _READ)
        found = [(study.teachers[name].observe(x, y).outputs, y) for x, y in batches]
        logits, y = (torch.cat(parts) for parts in zip(*found, strict=True))
        return (logits.float() / self.temperature).softmax(1), y


class _Translation(nn.Module):
    """The source's head, and what the target's classes are among its own."""

    relationship: Tensor

    def __init__(self, head: nn.Module, target: int, source: int) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("relationship", torch.full((target, source), 1 / source))

    def forward(self, features: Tensor, y: Tensor) -> Tensor:
        return co_tuning(self.head(features), y, self.relationship)
