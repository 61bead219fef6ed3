"""A small net that has seen a batch of the source and two views of one of the target, for losses of self-training."""

from math import exp

import torch
from both_sides import CLASSES, TASK, drawn, small_net

from transferlab.losses.base import Observation, Setting, Step, Study

__all__ = ["CLASSES", "TASK", "drawn", "images", "prepared", "small_net", "softmax", "step", "study"]


def prepared(loss, net, task=TASK, head_from_source=True, names=(), **classes):
    classes = classes or {"source": CLASSES, "target": CLASSES}
    loss.prepare(
        Setting(*net, task, classes, torch.zeros(2, 1, 8, 8), True, names=names, head_from_source=head_from_source)
    )
    return loss


def images(count, seed=0):
    return drawn(count, 1, 8, 8, seed=seed).float() + 0.3 * seed


def step(net, n=5, m=4, progress=0.0):
    """Of n source samples and m of the target, whose second view is noisier; gradients of features are kept."""
    views = {"source": images(n, 1), "unlabeled": images(m, 2), "strong": images(m, 2) + images(m, 3)}
    observed = {}
    for name, x in views.items():
        features = net[0](x)
        features.retain_grad()
        y = torch.arange(n) % CLASSES if name == "source" else torch.empty(m, 0)
        observed[name] = Observation(x, y, {}, features, net[1](features))
    return Step(*net, TASK, observed, progress=progress)


def study(net, x):
    """Of target samples, in batches of at most so many, no larger than 3."""
    target = [(batch, torch.empty(len(batch), 0)) for batch in x.split(3)]
    return Study(*net, TASK, {}, lambda domain, size: {"unlabeled": target}[domain])


def softmax(row):
    """A naive one, of a list."""
    return [exp(value) / sum(exp(v) for v in row) for value in row]
