"""Grad-CAM against its two equations on a net whose gradients are known."""

import pytest
import torch
from torch import nn

from transferlab.backbones.small import convnet, mlp
from transferlab.diagnostics.saliency import grad_cam, maps_of
from transferlab.errors import InputError


def test_it_is_equations_1_and_2() -> None:
    draws = torch.Generator().manual_seed(0)
    activations = torch.randn(2, 3, 4, 5, generator=draws).requires_grad_()
    weights = torch.randn(3, 4, 5, generator=draws)
    scores = (activations.square() * weights).sum((1, 2, 3))
    # dy/dA = 2 A w, by hand
    gradient = (2 * activations * weights).detach()
    expected = torch.zeros(2, 4, 5)
    for sample in range(2):
        for channel in range(3):
            alpha = gradient[sample, channel].sum() / 20
            expected[sample] += alpha * activations[sample, channel].detach()
    assert torch.allclose(grad_cam(activations, scores), expected.clamp(min=0), atol=1e-6)
    assert (expected < 0).any()


def test_behind_a_spatial_mean_it_is_the_heads_weights_on_the_last_maps() -> None:
    torch.manual_seed(0)
    backbone = convnet({"shape": [1, 16, 16]}, [4, 6]).eval().requires_grad_(False)
    head = nn.Linear(6, 3)
    x = torch.randn(2, 1, 16, 16)
    maps, predicted = maps_of(backbone, head, x)
    last = backbone.observe(x, ["block2"])[1]["block2"]
    # features are means over 16 places: dy/dA is the head's weight over 16, everywhere
    expected = torch.einsum("bkhw,bk->bhw", last, head.weight[predicted] / 16).relu()
    assert torch.equal(predicted, head(backbone(x)).argmax(1))
    assert torch.allclose(maps, expected, atol=1e-6)
    assert maps.max() > 0


def test_a_net_of_tables_has_no_map() -> None:
    with pytest.raises(InputError, match="saliency"):
        maps_of(mlp({"shape": [4]}, [3]).eval(), nn.Linear(3, 2), torch.randn(1, 4))
