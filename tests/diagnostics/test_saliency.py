"""Grad-CAM against its two equations on a net whose gradients are known."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from transferlab.backbones.small import convnet, mlp
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory
from transferlab.diagnostics.saliency import check, grad_cam, maps_of
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput


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
    backbone = convnet(ArrayInput.of(1, 16, 16), [4, 6]).eval().requires_grad_(False)
    head = nn.Linear(6, 3)
    x = torch.randn(2, 1, 16, 16)
    maps, predicted = maps_of(backbone, head, x)
    last = backbone.observe(x, ["block2"])[1]["block2"]
    # features are means over 16 places: dy/dA is the head's weight over 16, everywhere
    expected = torch.einsum("bkhw,bk->bhw", last, head.weight[predicted] / 16).relu()
    assert torch.equal(predicted, head(backbone(x)).argmax(1))
    assert torch.allclose(maps, expected, atol=1e-6)
    assert maps.max() > 0


def test_one_logit_speaks_for_the_second_class_and_against_the_first() -> None:
    torch.manual_seed(0)
    backbone, one = convnet(ArrayInput.of(1, 16, 16), [4, 6]).eval(), nn.Linear(6, 1)
    two = nn.Linear(6, 2)
    with torch.no_grad():
        two.weight.copy_(torch.cat([-one.weight, one.weight]))
        two.bias.copy_(torch.cat([-one.bias, one.bias]))
    x = torch.randn(8, 1, 16, 16)
    for alone, both in zip(maps_of(backbone, one, x), maps_of(backbone, two, x), strict=True):
        assert torch.equal(alone, both)


def test_a_net_of_tables_has_no_map() -> None:
    with pytest.raises(InputError, match="saliency"):
        maps_of(mlp(ArrayInput.of(4), [3]).eval(), nn.Linear(3, 2), torch.randn(1, 4))


class Net(nn.Module):
    """As much of a module as the picture looks at."""

    def __init__(self, dense: bool) -> None:
        super().__init__()
        self.backbone, self.head = convnet(ArrayInput.of(1, 8, 8), [4]), nn.Linear(4, 2)
        self.task = SimpleNamespace(dense=dense, probabilities=lambda outputs: outputs.softmax(1))


IMAGES = InMemory(torch.rand(2, 1, 8, 8), torch.zeros(2).long())
WORDS = Ragged.of([torch.ones(3), torch.ones(5)], torch.zeros(2).long())


@pytest.mark.parametrize(("test", "dense"), [(WORDS, False), (IMAGES, True)], ids=["sequences", "dense"])
def test_what_is_no_image_classed_as_one_is_refused_before_training(test: object, dense: bool) -> None:
    def as_they_are(batch: tuple, index: int) -> tuple[Tensor, Tensor]:
        return batch

    data = SimpleNamespace(sets=SimpleNamespace(test=test), on_after_batch_transfer=as_they_are)
    with pytest.raises(InputError, match=r"saliency\.samples: a picture needs images that are classed one by one"):
        check([1], Net(dense), data)
    check([1], Net(False), SimpleNamespace(sets=SimpleNamespace(test=IMAGES), on_after_batch_transfer=as_they_are))
