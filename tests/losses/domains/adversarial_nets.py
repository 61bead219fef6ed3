"""A small net between two domains, for the losses that set one part of it against another."""

import torch
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.tasks.classification import Classification

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
CLASSES, FEATURES = 3, 5


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net(seed=0, features=FEATURES, classes=CLASSES):
    torch.manual_seed(seed)
    return mlp(ArrayInput.of(6), [features]), nn.Linear(features, classes)


def prepared(loss, parts, task=TASK, example=None, seed=3, head_from_source=True, **classes):
    torch.manual_seed(seed)
    classes = classes or {"source": CLASSES, "target": CLASSES}
    example = torch.zeros(2, 6) if example is None else example
    loss.prepare(Setting(*parts, task, classes, example, True, head_from_source=head_from_source))
    return loss


def step(parts, n=4, m=3, progress=0.0, seed=1):
    """Source and target batches; gradients of the features are kept."""
    backbone, head = parts
    observed = {}
    for number, (domain, size) in enumerate({"source": n, "unlabeled": m}.items()):
        x = drawn(size, 6, seed=seed + number).float() + number
        features = backbone(x)
        features.retain_grad()
        y = torch.arange(size) % CLASSES if domain == "source" else torch.empty(size, 0)
        observed[domain] = Observation(x, y, {}, features, head(features))
    return Step(*parts, TASK, observed, progress=progress)


def features(present):
    return [present.observed[domain].features for domain in ("source", "unlabeled")]


def gradients(value, of):
    """Those of a value, 0 where it does not reach."""
    found = torch.autograd.grad(value, of, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(one) if gradient is None else gradient for one, gradient in zip(of, found, strict=True)]


def close(found, expected, factor=1.0):
    torch.testing.assert_close(list(found), [factor * one for one in expected])
