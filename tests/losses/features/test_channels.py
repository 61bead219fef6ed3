import pytest
import torch
from feature_nets import TASK, images, of_images, of_series, of_vectors, series
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.torchvision.transformers import swin
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.features.channels import fitted, increases, spread
from transferlab.values import Pair, Seq


@pytest.mark.parametrize("size", [1, 4, 7, 50])
def test_samples_are_spread_over_a_set_however_it_is_batched(size):
    whole = torch.arange(21)
    batches = [(Pair(part, part[:, None]), part) for part in whole.split(size)]
    found = spread(batches, 21, 5)
    assert [y.tolist() for _, y in found] == [[0, 5, 10, 15, 20]]
    assert found[0][0].first.tolist() == [0, 5, 10, 15, 20] and found[0][0].second.shape == (5, 1)


def test_fewer_samples_than_wanted_are_all_of_them_in_batches_of_64():
    found = spread([(part, part) for part in torch.arange(130).split(50)], 130, 1000)
    assert [len(y) for _, y in found] == [44, 43, 43]
    assert torch.cat([x for x, _ in found]).tolist() == list(range(130))


def test_sequences_are_padded_to_the_longest():
    short, long = series(2), series(3, seed=2)
    short = Seq(short.h[:, :5], short.mask[:, :5])
    ((x, y),) = spread([(short, torch.zeros(2)), (long, torch.ones(3))], 5, 5)
    assert x.h.shape == (5, 8, 1) and y.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(x.h[:2, :5], short.h)
    torch.testing.assert_close(x.h[2:], long.h)
    assert not x.mask[:2, 5:].any() and torch.equal(x.mask[2:], long.mask)


def test_a_fitted_head_is_where_the_gradient_of_loss_and_penalty_is_0():
    backbone, head = of_images()
    backbone.eval()
    x, y = images(40), torch.arange(40) % 2
    found = fitted(head, backbone, TASK, [(x[:30], y[:30]), (x[30:], y[30:])], 0.1)
    with torch.no_grad():
        features = backbone(x)
    objective = F.cross_entropy(found(features), y) + 0.05 * sum(w.square().sum() for w in found.parameters())
    gradients = torch.autograd.grad(objective, list(found.parameters()))
    assert max(g.abs().max() for g in gradients) < 1e-4
    assert found is not head and all(p.grad is None for p in backbone.parameters())


def test_a_head_without_weights_stays_as_it_is():
    backbone, _ = of_images(widths=(3, 2))
    assert not list(fitted(nn.Identity(), backbone, TASK, [(images(4), torch.arange(4) % 2)], 0.1).parameters())


@pytest.mark.parametrize(
    ("make", "stage", "x"),
    [(of_images, "block1", images(6)), (of_series, "block2", series(6)), (of_vectors, "layer2", images(6))],
)
def test_an_increase_is_the_loss_without_a_channel_less_the_loss_with_it(make, stage, x):
    backbone, head = make()
    backbone.eval()
    y = torch.arange(6) % 2
    found = increases(backbone, head, TASK, stage, x, y)
    names = backbone.stages[backbone.stages.index(stage) + 1 :]
    with torch.no_grad():
        whole = F.cross_entropy(head(backbone(x)), y)
        for channel, increase in enumerate(found.tolist()):
            value = backbone.observe(x, [stage])[1][stage]
            h = value.h if isinstance(value, Seq) else value
            h.select(-1 if isinstance(value, Seq) else 1, channel).zero_()
            features = backbone(value, start=names[0]) if names else value
            assert increase == pytest.approx((F.cross_entropy(head(features), y) - whole).item(), abs=1e-6)


def test_of_maps_with_channels_last_the_last_axis_is_switched_off():
    torch.manual_seed(0)
    backbone = swin(ArrayInput.of(3, 32, 32), "swin_t").eval()
    head = nn.Linear(backbone.features, 2)
    x, y = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    found = increases(backbone, head, TASK, "stage4", x, y)
    assert found.shape == (768,)
    with torch.no_grad():
        value = backbone.observe(x, ["stage4"])[1]["stage4"]
        before = F.cross_entropy(head(backbone(x)), y)
        value[..., 5] = 0
        after = F.cross_entropy(head(backbone(value, start="pool")), y)
    assert found[5].item() == pytest.approx((after - before).item(), abs=1e-5)
