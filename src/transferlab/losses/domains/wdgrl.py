"""WDGRL: features between whose distributions the Wasserstein distance is small."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.critic import Critic, Scores
from transferlab.losses.domains.discriminator import check, length
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def wasserstein(source: Tensor, target: Tensor) -> Tensor:
    """How far a critic's mean score lies higher on the source: the distance, if no 1-Lipschitz critic has it higher.

    Shen et al. 2018, "Wasserstein Distance Guided Representation Learning for Domain Adaptation" (AAAI).

    Args:
        source: scores (n,).
        target: scores (m,).

    Returns:
        A scalar.
    """
    distance: Tensor = source.mean() - target.mean()
    return distance


def gradient_penalty(critic: Scores, points: Tensor) -> Tensor:
    """Hold a critic's slope near 1: `mean (|grad critic(h)| - 1)^2` over points h.

    Gulrajani et al. 2017, "Improved Training of Wasserstein GANs" (NeurIPS).

    Args:
        critic: from vectors to scores.
        points: h (B, F).

    Returns:
        A scalar, with a gradient for the critic and none for the points.
    """
    points = points.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    penalty: Tensor = (torch.linalg.vector_norm(slopes, dim=1) - 1).square().mean()
    return penalty


def between(source: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Points on the lines between samples of source and target, one by one; the smaller batch begins anew.

    Args:
        source: (n, F).
        target: (m, F).
        share: of the source's sample in a point, in [0, 1], (max(n, m),).

    Returns:
        (max(n, m), F).
    """
    places = torch.arange(len(share), device=source.device)
    from_, to = target[places % len(target)], source[places % len(source)]
    return from_ + share[:, None] * (to - from_)


@full_precision
def critic_loss(source: Tensor, target: Tensor, share: Tensor, critic: Scores, penalty: float) -> Tensor:
    """What the critic descends on: `-wasserstein + penalty * gradient_penalty` at all samples and points between them.

    Args:
        source: vectors (n, F).
        target: vectors (m, F).
        share: of the source in the points between them (max(n, m),).
        critic: from vectors to scores.
        penalty: the paper's gamma.

    Returns:
        A scalar.
    """
    points = torch.cat([source, target, between(source, target, share)])
    return penalty * gradient_penalty(critic, points) - wasserstein(critic(source), critic(target))


class WDGRL(DomainLoss):
    """`wasserstein` by a critic that first learns for some steps on the batch's features.

    Outside training the critic stays as it is.

    Args:
        weight: lambda, beside the source's loss.
        hidden: units of each hidden layer of the critic.
        critic_lr: rate of the critic's Adam.
        critic_steps: of the critic, to one of the net.
        penalty: gamma of the gradient penalty.

    Raises:
        InputError: a number that is none.
    """

    def __init__(
        self, weight: Weight, hidden: Sequence[int], critic_lr: float, critic_steps: int, penalty: float
    ) -> None:
        super().__init__("wdgrl", weight)
        check("wdgrl", hidden, 0.0)
        if critic_lr <= 0:
            raise InputError(f"strategy.losses.wdgrl.critic_lr={critic_lr}: a number above 0")
        if critic_steps < 1:
            raise InputError(f"strategy.losses.wdgrl.critic_steps={critic_steps}: at least 1")
        if penalty <= 0:
            raise InputError(f"strategy.losses.wdgrl.penalty={penalty}: a number above 0, or the critic has no bound")
        self.hidden, self.lr, self.steps, self.penalty = hidden, critic_lr, critic_steps, penalty
        self.critic: Critic

    def prepare(self, setting: Setting) -> None:
        """Build the critic.

        Raises:
            InputError: the source has no data.
        """
        super().prepare(setting)
        self.critic = Critic(length(setting), self.hidden)

    def forward(self, step: Step) -> Tensor:
        """The distance of both batches; in training the critic learns before."""
        ((source, target),) = self.compared(step)
        if self.training:
            self._learn(source.detach(), target.detach())
        return wasserstein(self.critic(source), self.critic(target))

    def _learn(self, source: Tensor, target: Tensor) -> None:
        for _ in range(self.steps):
            # of the global generator, which a run restores
            share = torch.rand(max(len(source), len(target)), device=source.device)

            def loss(critic: Scores, share: Tensor = share) -> Tensor:
                return critic_loss(source, target, share, critic, self.penalty)

            self.critic.descend(loss, self.lr)
