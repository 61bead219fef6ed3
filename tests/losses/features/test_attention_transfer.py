from math import sqrt

import pytest
import torch
from feature_nets import SERIES, drawn, images, of_images, of_series, of_vectors, series, setting, step, teacher
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.features.attention_transfer import AttentionTransfer, attention, attention_transfer


def real(samples, places, seed):
    mask = drawn(samples, places, seed=seed) > 0
    mask[:, 0] = True
    return mask


def attended(vectors, kept, power):
    """A sample's attention over its real positions, of length 1."""
    sums = [sum(abs(a) ** power for a in vector) for vector, real in zip(vectors, kept, strict=True) if real]
    return [value / sqrt(sum(v * v for v in sums)) for value in sums]


@settings(max_examples=25, deadline=None)
@given(
    *(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
    *(st.floats(1, 4), st.integers(0, 99)),
)
def test_it_is_the_squared_distance_of_attention_maps_written_out(samples, places, own, other, power, seed):
    student, taught = drawn(samples, places, own, seed=seed), drawn(samples, places, other, seed=seed + 1)
    mask = real(samples, places, seed)
    expected = 0.0
    for a, b, kept in zip(student.tolist(), taught.tolist(), mask.tolist(), strict=True):
        pairs = zip(attended(a, kept, power), attended(b, kept, power), strict=True)
        expected += sum((one - two) ** 2 for one, two in pairs) / sum(kept) / samples
    found = attention_transfer(*(attention(a, power, 2)[:, :, 0] for a in (student, taught)), mask)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    wanted, mask = drawn(3, 4, 2, seed=1), real(3, 4, 0)

    def loss(activations):
        return attention_transfer(*(attention(a, 2.0, 2)[:, :, 0] for a in (activations, wanted)), mask)

    assert torch.autograd.gradcheck(loss, drawn(3, 4, 5).requires_grad_())


def test_it_does_not_see_how_strong_and_in_which_channels():
    maps = drawn(3, 5).abs()
    mask = torch.ones(3, 5, dtype=torch.bool)
    assert attention_transfer(7 * maps, maps, mask).item() == pytest.approx(0, abs=1e-15)
    activations = drawn(3, 4, 2, 2)
    torch.testing.assert_close(attention(activations.flip(1), 2.0, 1), attention(activations, 2.0, 1))


def test_where_both_agree_it_has_a_gradient_and_it_is_0():
    maps = drawn(3, 5).abs().requires_grad_()
    attention_transfer(maps, maps.detach(), torch.ones(3, 5, dtype=torch.bool)).backward()
    assert maps.grad.abs().max() < 1e-15


def test_maps_that_look_elsewhere_are_as_far_apart_as_can_be():
    student, taught = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 5.0, 0.0, 0.0]])
    assert attention_transfer(student, taught, torch.ones(1, 4, dtype=torch.bool)).item() == pytest.approx(2 / 4)


def test_a_silent_sample_has_a_finite_value_and_gradient():
    activations = torch.zeros(2, 3, 4).requires_grad_()
    mask = torch.ones(2, 4, dtype=torch.bool)
    value = attention_transfer(attention(activations, 2.0, 1)[:, 0], torch.ones(2, 4), mask)
    value.backward()
    assert value.item() == pytest.approx(1 / 4) and activations.grad.abs().max() == 0


def test_half_precision_does_not_overflow():
    assert attention(torch.full((1, 4, 2), 1e4, dtype=torch.float16), 2.0, 1).isfinite().all()


def test_by_default_it_reads_every_stage_with_more_than_one_position():
    net, other = of_images(), teacher(of_images(1, widths=(5, 6)))
    loss = AttentionTransfer(1.0, None, None, 2.0)
    loss.prepare(setting(net, first=other))
    assert loss.activations == ("block1", "block2")
    x = images(3)
    mine, its = net[0].observe(x, loss.activations)[1], other.backbone.observe(x, loss.activations)[1]
    expected = 0
    for stage in loss.activations:
        own, wanted = (F.normalize(maps[stage].square().sum(1).flatten(1)) for maps in (mine, its))
        expected = expected + F.mse_loss(own, wanted)
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), expected)
    tall = of_images(widths=(3, 4, 5))  # 8 pixels halved three times: one is left
    loss.prepare(setting(tall, first=teacher(of_images(1, widths=(3, 4, 5)))))
    assert loss.activations == ("block1", "block2")


def test_the_larger_of_two_attention_maps_is_averaged_over_the_smaller_grid():
    net, other = of_images(), teacher(of_images(1))
    loss = AttentionTransfer(1.0, [0], [1], 2.0)
    loss.prepare(setting(net, first=other))
    x = images(3)
    own = F.avg_pool2d(net[0].observe(x, ["block1"])[1]["block1"].square().sum(1, keepdim=True), 2)
    wanted = other.backbone.observe(x, ["block2"])[1]["block2"].square().sum(1, keepdim=True)
    expected = F.mse_loss(F.normalize(own.flatten(1)), F.normalize(wanted.flatten(1)))
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), expected)


def test_of_sequences_padding_does_not_count():
    net, other = of_series(), teacher(of_series(1))
    loss = AttentionTransfer(1.0, ["block1"], None, 2.0)
    loss.prepare(setting(net, SERIES, first=other))
    seen = step(net, loss, series(3), first=other)
    before = loss(seen)
    assert before > 0
    for observed in (seen.observed["target"], seen.taught["first"]):
        padded = observed.activations["block1"]
        padded.h.data[~padded.mask] = 1e3
    torch.testing.assert_close(loss(seen), before)


def test_what_does_not_fit_is_said():
    net, other = of_images(), teacher(of_images(1))
    with pytest.raises(InputError, match=r"power=0\.5: at least 1"):
        AttentionTransfer(1.0, None, None, 0.5)
    with pytest.raises(InputError, match="this run starts from none"):
        AttentionTransfer(1.0, None, None, 2.0).prepare(setting(net))
    with pytest.raises(
        InputError, match=r"stage 'pool'.*2 positions or more a sample \(those that do: block1, block2\)"
    ):
        AttentionTransfer(1.0, ["pool"], None, 2.0).prepare(setting(net, first=other))
    with pytest.raises(InputError, match=r"'layer2' of backbone 'mlp'.*those that do: none"):
        AttentionTransfer(1.0, None, None, 2.0).prepare(setting(of_vectors(), first=teacher(of_vectors(1))))
    with pytest.raises(InputError, match="a sample has 16 positions in a stage of this net and 1 in the teacher's"):
        AttentionTransfer(1.0, [0], ["pool"], 2.0).prepare(setting(net, first=other))
    tall = teacher(of_images(1, widths=(3, 4, 5)))  # 8 pixels halved three times: one is left
    with pytest.raises(InputError, match="stage 'block3' of the teacher 'first' gives one position"):
        AttentionTransfer(1.0, [0], ["block3"], 2.0).prepare(setting(net, first=tall))
