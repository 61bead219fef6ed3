"""Semantic loss: answers that obey rules."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.outputs.rules import Count, Rule, connected, read
from transferlab.losses.weight import Weight
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel

_MOST = 16  # outputs of rules that belong together: 65,536 states


def semantic_loss(logits: Tensor, groups: Sequence["Group"]) -> Tensor:
    """Make it likely that outputs, drawn independently, satisfy rules: minus the log of that probability.

    `-log sum_(x that satisfies) prod_(i: x_i) p_i prod_(i: not x_i) (1 - p_i)` with p the sigmoid: Xu et al. 2018,
    "A Semantic Loss Function for Deep Learning with Symbolic Knowledge" (ICML), Definition 1. It is 0 where outputs
    satisfy the rules for certain, and looks at no label.

    Args:
        logits: (B, n).
        groups: of rules; those of different groups have no output in common.

    Returns:
        A scalar, the mean over the batch.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    true, false = F.logsigmoid(logits), F.logsigmoid(-logits)
    return torch.stack([minus_log(*group(true, false)) for group in groups]).sum(0).mean()


def minus_log(held: Tensor, broken: Tensor) -> Tensor:
    """Minus a log-probability, exact for a probability near 1 too.

    Args:
        held: its logarithm, of any shape.
        broken: that of 1 minus the probability.
    """
    likely = held > -log(2)
    # the branch that is not taken must have a gradient, too
    rest = torch.where(likely, broken, -1.0)
    return torch.where(likely, -torch.log1p(-rest.exp()), -held)


def by_count(true: Tensor, false: Tensor, least: int, most: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities that from `least` to `most` of independent outputs are true, and that not.

    Counts of halves are added up, in log2(n) rounds, where all states would be 2^n.

    Args:
        true: log-probabilities of the outputs (B, n).
        false: of their opposites (B, n).
        least: 0 or more.
        most: below n.

    Returns:
        Twice (B,).
    """
    counts = torch.stack([false, true], 2)
    if most:
        counts = F.pad(counts, (0, 1), value=_never(true))
    while counts.shape[1] > 1:
        if counts.shape[1] % 2:
            nothing = F.pad(torch.zeros_like(counts[:, :1, :1]), (0, counts.shape[2] - 1), value=_never(true))
            counts = torch.cat([counts, nothing], 1)
        counts = _added(counts[:, ::2], counts[:, 1::2], most)
    counts = counts[:, 0]
    broken = torch.cat([counts[:, :least], counts[:, -1:]], 1)
    return counts[:, least:-1].logsumexp(1), broken.logsumexp(1)


def _added(one: Tensor, other: Tensor, most: int) -> Tensor:
    """Log-probabilities that two independent counts add up to 0, 1, ..., and to more than are told apart.

    Args:
        one: of counts 0, 1, ..., c, and more (..., c + 2).
        other: likewise.
        most: counts above it are not told apart.

    Returns:
        (..., min(most, 2 c) + 2).
    """
    told, kept = one.shape[-1] - 2, min(most, 2 * one.shape[-1] - 4)
    above = [other[..., -1:]]  # that the other is above a count, from the last to the first
    for count in reversed(range(1, told + 1)):
        above.append(torch.logaddexp(above[-1], other[..., count : count + 1]))
    ways = [F.pad(one[..., -1:], (kept + 1, 0), value=_never(one))]
    for count in range(told + 1):
        fit = min(told, kept - count)
        sums = F.pad(
            one[..., count : count + 1] + other[..., : fit + 1], (count, kept - count - fit), value=_never(one)
        )
        ways.append(torch.cat([sums, one[..., count : count + 1] + above[told - fit]], -1))
    return torch.stack(ways).logsumexp(0)


def _never(like: Tensor) -> float:
    """A finite stand-in for the logarithm of 0, whose gradient is a number."""
    return torch.finfo(like.dtype).min / 4


def by_states(true: Tensor, false: Tensor, holds: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities that independent outputs are in a state that holds, and that not: weighted model counting.

    Args:
        true: log-probabilities of the outputs (B, n).
        false: of their opposites (B, n).
        holds: of each state whether it satisfies the rules, (2^n,); bit i of a state's number is output i.

    Returns:
        Twice (B,).
    """
    states = torch.zeros_like(true[:, :1])
    for one, none in zip(true.T[..., None], false.T[..., None], strict=True):
        states = torch.cat([states + none, states + one], 1)
    return states.masked_fill(~holds, -torch.inf).logsumexp(1), states.masked_fill(holds, -torch.inf).logsumexp(1)


class Group(nn.Module):
    """Rules that belong together: log-probabilities that all of them hold, and that not.

    A count alone is counted, whatever its length; anything else goes through all states.

    Args:
        rules: connected by common outputs.

    Raises:
        InputError: they contradict one another, or have too many outputs.
    """

    outputs: Tensor
    states: Tensor

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        named = sorted({output for rule in rules for output in rule.outputs})
        self.count = rules[0] if len(rules) == 1 and isinstance(rules[0], Count) else None
        self.register_buffer("outputs", torch.tensor(named), persistent=False)
        if self.count is None:
            self.register_buffer("states", _satisfied(rules, named), persistent=False)

    def forward(self, true: Tensor, false: Tensor) -> tuple[Tensor, Tensor]:
        """Of log-probabilities of all outputs and of their opposites, (B, n) each: twice (B,)."""
        true, false = true[:, self.outputs], false[:, self.outputs]
        if self.count is not None:
            return by_count(true, false, self.count.least, self.count.most)
        return by_states(true, false, self.states)


def _satisfied(rules: Sequence[Rule], named: Sequence[int]) -> Tensor:
    """Of each state of the named outputs whether it satisfies all rules, (2^n,)."""
    if len(named) > _MOST:
        raise InputError(
            f"strategy.losses.semantic_loss.rules: {len(rules)} rules have {len(named)} classes in common, at most "
            f"{_MOST} are possible: leave out what connects them, or say it in one exactly_one or at_most"
        )
    states = (torch.arange(2 ** len(named))[:, None] >> torch.arange(len(named))) & 1 == 1
    holds = torch.ones(len(states), dtype=torch.bool)
    for rule in rules:
        holds &= rule.holds(states[:, [named.index(output) for output in rule.outputs]])
    if not holds.any():
        raise InputError(
            f"strategy.losses.semantic_loss.rules: {len(rules)} rules over the classes {list(named)} (counted from 0) "
            "contradict one another: take one out"
        )
    return holds


class SemanticLoss(TransferLoss):
    """`semantic_loss` on the target's batch.

    Every output is read by itself, through the sigmoid of its logit, also where the task's loss is a softmax over them:
    of a softmax one class alone is ever true, which satisfies most rules already. Of a binary task the two classes have
    the logits -z and z.

    Args:
        weight: of the term beside the task loss.
        rules: as `rules.read` takes them.
    """

    def __init__(self, weight: Weight, rules: Any) -> None:
        super().__init__(weight)
        self._rules = rules
        self.groups = nn.ModuleList()

    def prepare(self, setting: Setting) -> None:
        """Sort the rules, and find out what satisfies them.

        Raises:
            InputError: the task has no classes, or rules that are none, contradict one another or are too many.
        """
        if not isinstance(setting.task, Classification | Binary | MultiLabel):
            raise InputError(
                "loss 'semantic_loss' reads a logit for each class: choose task=multilabel, classification or binary"
            )
        rules = read(self._rules, setting.names, setting.classes["target"])
        self.groups = nn.ModuleList(Group(group) for group in connected(rules))

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch."""
        logits = step.domain("target", "semantic_loss").outputs
        if isinstance(step.task, Binary):
            logits = torch.cat([-logits, logits], 1)
        return semantic_loss(logits, [*self.groups])
