"""Published weights in nets for other channels."""

import pytest
import torch
from torch import nn

from transferlab.backbones.fitted import first_convolution, fitted, for_channels

KERNELS = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))


def test_for_one_channel_weights_are_summed():
    assert torch.equal(for_channels(KERNELS, 1), KERNELS[:, :1] + KERNELS[:, 1:2] + KERNELS[:, 2:])


@pytest.mark.parametrize(("channels", "order"), [(2, "01"), (4, "0120"), (5, "01201"), (6, "012012")])
def test_for_more_channels_weights_are_repeated_cyclically_and_scaled(channels, order):
    given = for_channels(KERNELS, channels)
    for channel, source in enumerate(order):
        torch.testing.assert_close(given[:, channel], KERNELS[:, int(source)] * 3 / channels)


@pytest.mark.parametrize("channels", [1, 3, 6, 9])
def test_an_image_with_all_channels_alike_gives_what_it_gave(channels):
    grey = torch.randn(2, 1, 8, 8)
    expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), KERNELS)
    given = nn.functional.conv2d(grey.expand(-1, channels, -1, -1), for_channels(KERNELS, channels))
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


def net(channels):
    return nn.Sequential(nn.Conv2d(channels, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 3), nn.Conv2d(3, 2, 3))


def test_only_the_first_convolution_is_fitted():
    state = net(3).state_dict()
    # the last one differs in its channels too, and stays to be refused
    state["3.weight"] = torch.zeros(2, 1, 3, 3)
    given = fitted(net(1), state)
    assert torch.equal(given["0.weight"], state["0.weight"].sum(1, keepdim=True))
    assert [key for key in state if given[key] is not state[key]] == ["0.weight"]


@pytest.mark.parametrize("shape", [(5, 2, 3, 3), (4, 3, 3, 3), (5, 3, 5, 5), (5, 3)])
def test_weights_that_differ_otherwise_stay_as_they_are(shape):
    state = net(3).state_dict() | {"0.weight": torch.zeros(shape)}
    assert fitted(net(1), state)["0.weight"] is state["0.weight"]


def test_weights_of_the_same_channels_stay_as_they_are():
    state = net(3).state_dict()
    assert all(value is state[key] for key, value in fitted(net(3), state).items())


def test_a_net_without_convolutions_has_no_first_one():
    table = nn.Sequential(nn.Linear(3, 2))
    assert first_convolution(table) is None
    state = table.state_dict()
    assert fitted(table, state) == state
