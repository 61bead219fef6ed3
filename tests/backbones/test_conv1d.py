import pickle

import pytest
import torch
from torch.nn import functional as F

from transferlab.backbones.conv1d import conv1d
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput
from transferlab.values import Seq

FRAMES = SeriesInput(2, None, "resample", "none")


def net(widths=(4, 6), kernel=3, spread=True):
    torch.manual_seed(0)
    backbone = conv1d(FRAMES, list(widths), kernel)
    if spread:
        for name, buffer in backbone.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
    return backbone.eval()


def naive(backbone, h, widths):
    """One series (T, C), by the functions of torch, without any mask."""
    state = backbone.net.state_dict()
    h = h.T[None]
    for number in range(1, len(widths) + 1):
        mean, variance, weight, bias, kernels = (
            state[f"block{number}.{key}"]
            for key in ("norm.running_mean", "norm.running_var", "norm.weight", "norm.bias", "convolution.weight")
        )
        h = F.conv1d(h, kernels, padding="same")
        h = F.max_pool1d(F.relu(F.batch_norm(h, mean, variance, weight, bias)), 2, ceil_mode=True)
    return h[0].mean(1)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_each_series_of_a_padded_batch_has_the_features_it_has_alone(kernel):
    backbone = net(kernel=kernel)
    batch = FRAMES.example(5)
    assert len(set(batch.mask.sum(1).tolist())) == 5
    dirty = Seq(torch.where(batch.mask[..., None], batch.h, torch.full_like(batch.h, 1e3)), batch.mask)
    expected = torch.stack([naive(backbone, h[m], (4, 6)) for h, m in zip(batch.h, batch.mask, strict=True)])
    torch.testing.assert_close(backbone(dirty), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_series_shorter_than_the_halvings_ends_as_one_step(steps):
    backbone = net((3, 3, 3, 3))
    h = torch.randn(1, steps, 2)
    given = backbone(Seq(h, torch.ones(1, steps, dtype=torch.bool)))
    torch.testing.assert_close(given[0], naive(backbone, h[0], (3, 3, 3, 3)))


def test_batchnorm_learns_its_statistics_from_real_steps_alone():
    backbone = net(widths=(4,), spread=False).train()
    batch = FRAMES.example(3)
    backbone(Seq(torch.where(batch.mask[..., None], batch.h, torch.full_like(batch.h, 1e3)), batch.mask))
    block = backbone.net.get_submodule("block1")
    with torch.no_grad():
        alone = [block.convolution(h[m].T[None])[0].T for h, m in zip(batch.h, batch.mask, strict=True)]
    torch.testing.assert_close(block.norm.running_mean, 0.1 * torch.cat(alone).mean(0))
    torch.testing.assert_close(block.norm.running_var, 0.9 + 0.1 * torch.cat(alone).var(0))


def test_the_chain_can_be_entered_at_every_boundary_and_pickled():
    backbone = net()
    x = FRAMES.example(3)
    for stage in backbone.stages:
        assert torch.equal(backbone(backbone(x, stop=stage), start=stage), backbone(x))
    assert torch.equal(pickle.loads(pickle.dumps(backbone))(x), backbone(x))


def test_stages_are_blocks_and_the_tail_pools():
    backbone = net()
    assert backbone.stages == ("block1", "block2", "pool")
    assert backbone.parametric == ("block1", "block2")
    assert backbone.features == 6
    backbone.cut()
    x = FRAMES.example(2)
    assert backbone(x).h.shape == (2, -(-x.h.shape[1] // 4), 6)


@pytest.mark.parametrize(
    ("given", "widths", "kernel", "sentence"),
    [
        (FRAMES, [4], 4, "backbone.kernel=4: an odd number"),
        (FRAMES, [4], 0, "backbone.kernel=0: an odd number"),
        (FRAMES, [], 3, r"backbone.widths=\[\]"),
        (ArrayInput.of(4), [4], 3, "'conv1d' takes series, its input gives tables"),
    ],
)
def test_what_makes_no_net_is_refused_in_a_sentence(given, widths, kernel, sentence):
    with pytest.raises(InputError, match=sentence):
        conv1d(given, widths, kernel)
