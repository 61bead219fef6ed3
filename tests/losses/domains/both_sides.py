"""A small net that has seen a batch of the source and one of the target without labels, for losses between the two."""

import torch
from torch import nn

from transferlab.backbones.small import convnet
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
MANY = MultiLabel(nn.Linear, "auroc", None)
CLASSES = 3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_net(seed=0):
    torch.manual_seed(seed)
    return convnet(ArrayInput.of(1, 8, 8), [3, 4]), nn.Linear(4, CLASSES)


def setting(net, task=TASK, domains=("source", "target")):
    return Setting(*net, task, dict.fromkeys(domains, CLASSES), torch.zeros(2, 1, 8, 8), True)


def prepared(loss, net):
    loss.prepare(setting(net))
    return loss


def step(net, loss, n=6, m=4):
    """Of n source samples and m of the target, other images each."""
    sides = {"source": (n, torch.arange(n) % CLASSES), "unlabeled": (m, torch.empty(m, 0))}
    observed = {}
    for seed, (name, (count, y)) in enumerate(sides.items()):
        x = drawn(count, 1, 8, 8, seed=seed).float() + seed
        features, kept = net[0].observe(x, loss.activations)
        observed[name] = Observation(x, y, kept, features, net[1](features))
    return Step(*net, TASK, {name: observed[name] for name in sorted(loss.reads)})


def features(seen):
    return [seen.observed[name].features for name in ("source", "unlabeled")]


def assert_the_net_learns(net, value, head=True):
    """The gradient of a loss reaches every weight of the backbone, and of the head if it reads predictions."""
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net[0].parameters())
    assert any(p.grad.abs().max() > 0 for p in net[0].parameters())
    assert all((p.grad is not None) == head for p in net[1].parameters())
