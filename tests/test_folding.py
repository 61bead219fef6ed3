"""BatchNorms whose work the convolutions before them do: the same numbers to round-off, and a net as it was."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm
from torch.nn.utils import parametrizations

from transferlab.backbones import torchvision
from transferlab.backbones.small import convnet
from transferlab.backbones.timm import named
from transferlab.inputs.arrays import ArrayInput
from transferlab.prefix.folding import Folded

INPUT = ArrayInput.of(3, 32, 32)
NETS = {  # what is built, BatchNorms behind a convolution of their own
    "convnet": (lambda: convnet(INPUT, [8, 16]), 2),
    "resnet18": (lambda: torchvision.resnet(INPUT, "resnet18"), 20),
    "mobilenet_v2": (lambda: torchvision.mobilenet_v2(INPUT, "mobilenet_v2"), 52),
    "efficientnet_lite0": (lambda: named(INPUT, "tf_efficientnet_lite0"), 49),
    # of an inner layer the first BatchNorm comes before its convolution, and reads what many have given
    "densenet121": (lambda: named(INPUT, "densenet121"), 59),
    "vit_tiny": (lambda: named(INPUT, "vit_tiny_patch16_224"), 0),
}


def lived(net: nn.Module) -> nn.Module:
    """A net in evaluation mode whose BatchNorms do something."""
    generator = torch.Generator().manual_seed(0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            with torch.no_grad():
                for tensor, low, high in (
                    (part.weight, 0.5, 1.5),
                    (part.bias, -0.3, 0.3),
                    (part.running_mean, -0.3, 0.3),
                    (part.running_var, 0.5, 1.5),
                ):
                    if tensor is not None:
                        tensor.uniform_(low, high, generator=generator)
    return net.eval()


def folded(net: nn.Module, x: torch.Tensor) -> Folded:
    return Folded(net, lambda: {"": net(x)})


@pytest.fixture
def normalised(monkeypatch):
    """How many times torch's BatchNorm was computed."""
    times = Counter()

    def counted(*given, **more):
        times["calls"] += 1
        return batch_norm(*given, **more)

    monkeypatch.setattr("torch.nn.functional.batch_norm", counted)
    return times


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_the_same_numbers_without_the_batchnorms(name, normalised):
    build, count = NETS[name]
    net, x = lived(build()), INPUT.example(2)
    found = folded(net, x)
    y = INPUT.example(5) * 2 - 1
    wanted, state = net(y), {key: value.clone() for key, value in net.state_dict().items()}
    normalised.clear()
    with found.within():
        given = net(y)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert (found.norms, normalised["calls"]) == (count, norms - count)
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert torch.equal(net(y), wanted)
    assert net.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@torch.no_grad()
def test_the_net_is_as_it_was_after_an_error():
    net, x = lived(NETS["resnet18"][0]()), INPUT.example(2)
    wanted, found = net(x), folded(net, x)
    with pytest.raises(RuntimeError, match="channels"), found.within():
        net(x[:, :1])
    assert torch.equal(net(x), wanted)


class ReadTwice(nn.Module):
    """What the convolution gives goes past the BatchNorm too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


class Shared(nn.Module):
    """One convolution, two BatchNorms."""

    def __init__(self):
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.two(self.conv(self.one(self.conv(x))))


class Own(nn.BatchNorm2d):
    """A BatchNorm that does something else."""

    def forward(self, x):
        return 2 * super().forward(x)


class Between(nn.Module):
    """Something lies between the two."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x).relu())


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def parametrized() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))


def transposed() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4))


def half() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).bfloat16()


@pytest.mark.parametrize(
    "build",
    [
        ReadTwice,
        Shared,
        Between,
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Own(4)),
        without_statistics,
        parametrized,
        transposed,
        half,
    ],
)
@torch.no_grad()
def test_what_cannot_be_folded_stays(build):
    net = lived(build())
    x = INPUT.example(2).to(next(net.parameters()).dtype)
    wanted, found = net(x), folded(net, x)
    assert found.norms == 0
    with found.within():
        assert torch.equal(net(x), wanted)


@torch.no_grad()
def test_a_live_batchnorm_stays():
    net = lived(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    net[1].train()
    assert folded(net, INPUT.example(2)).norms == 1


@pytest.mark.parametrize(("kind", "shape"), [(1, (3, 20)), (3, (3, 6, 6, 6))])
@torch.no_grad()
def test_other_dimensions_are_folded_too(kind, shape):
    conv, norm = (nn.Conv1d, nn.BatchNorm1d) if kind == 1 else (nn.Conv3d, nn.BatchNorm3d)
    net = nn.Sequential(conv(3, 4, 3, bias=False), norm(4), nn.ReLU(inplace=True)).eval()
    net[1].running_mean.uniform_(-1, 1)
    net[1].running_var.uniform_(0.5, 2)
    x = torch.rand(2, *shape)
    wanted, found = net(x), folded(net, x)
    assert found.norms == 1
    with found.within():
        torch.testing.assert_close(net(x), wanted, rtol=1e-5, atol=1e-5)
