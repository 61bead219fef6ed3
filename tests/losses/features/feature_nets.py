"""Small nets with teachers, for the losses on features: what a run would show them."""

import torch
from torch import nn

from transferlab.backbones.conv1d import conv1d
from transferlab.backbones.small import convnet, embeddings, mlp
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.ids import IdsInput
from transferlab.inputs.series import SeriesInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.teacher import Teacher
from transferlab.tasks.classification import Classification
from transferlab.values import Seq

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
IMAGES = torch.zeros(2, 1, 8, 8)
SERIES = Seq(torch.zeros(2, 8, 1), torch.ones(2, 8, dtype=torch.bool))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(count, seed=1):
    return drawn(count, 1, 8, 8, seed=seed).float()


def series(count, seed=1):
    """Of 8 steps, the last sample's half of them padding."""
    mask = torch.ones(count, 8, dtype=torch.bool)
    mask[-1, 4:] = False
    return Seq(drawn(count, 8, 1, seed=seed).float() * mask[..., None], mask)


def of_images(seed=0, widths=(3, 4)):
    torch.manual_seed(seed)
    return convnet(ArrayInput.of(1, 8, 8), list(widths)), nn.Linear(widths[-1], 2)


def of_series(seed=0, widths=(3, 4)):
    torch.manual_seed(seed)
    return conv1d(SeriesInput(1, None, "resample", "none"), list(widths), 3), nn.Linear(widths[-1], 2)


def of_vectors(seed=0, widths=(5, 4)):
    torch.manual_seed(seed)
    return mlp(ArrayInput.of(1, 8, 8), list(widths)), nn.Linear(widths[-1], 2)


def of_ids():
    return embeddings(IdsInput(6, 5), 4), nn.Linear(8, 2)


def teacher(net, weight=1.0):
    return Teacher(*net, TASK, weight)


def setting(net, example=IMAGES, task=TASK, **teachers):
    return Setting(*net, task, {"target": 2}, example, True, teachers=teachers)


def step(net, loss, x, **teachers):
    """In training, with the outputs of the stages that the loss asks for."""
    y = torch.arange(len(x.h if isinstance(x, Seq) else x)) % 2
    features, kept = net[0].observe(x, loss.activations)
    observed = {"target": Observation(x, y, kept, features, net[1](features))}
    taught = {name: one.observe(x, y, loss.taught[name]) for name, one in teachers.items()}
    return Step(*net, TASK, observed, taught, {name: one.weight for name, one in teachers.items()})
