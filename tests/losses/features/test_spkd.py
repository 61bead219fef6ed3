from math import sqrt

import pytest
import torch
from feature_nets import IMAGES, SERIES, drawn, images, of_images, of_series, of_vectors, series, setting, step, teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.features.spkd import SPKD, spkd
from transferlab.values import masked_mean


def similarities(rows):
    """Equations 1 and 3, one number at a time."""
    gram = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    return [[value / sqrt(sum(v * v for v in row)) for value in row] for row in gram]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_it_is_the_papers_equation_written_out(samples, own, other, seed):
    student, taught = drawn(samples, own, seed=seed), drawn(samples, other, seed=seed + 1)
    expected = 0.0
    for row, wanted in zip(similarities(student.tolist()), similarities(taught.tolist()), strict=True):
        for a, b in zip(row, wanted, strict=True):
            expected += (a - b) ** 2 / samples**2
    assert spkd(student, taught).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    taught = drawn(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda q: spkd(q, taught), drawn(4, 5).requires_grad_())


def test_it_does_not_see_rotation_and_scale():
    q = drawn(5, 4)
    rotation = torch.linalg.qr(drawn(4, 4, seed=1)).Q
    assert spkd(3 * q @ rotation, q).item() == pytest.approx(0, abs=1e-12)


def test_opposite_extremes_are_known_in_closed_form():
    """All alike, rows of 1 / sqrt(B), against none alike, the unit matrix: (2 - 2 / sqrt(B)) / B."""
    alike, apart = torch.ones(4, 2), torch.eye(4)
    assert spkd(alike, apart).item() == pytest.approx((2 - 2 / 2) / 4)


def test_samples_without_activation_have_a_finite_gradient():
    q = torch.cat([torch.zeros(1, 3), drawn(3, 3).float()]).requires_grad_()
    spkd(q, torch.eye(4)).backward()
    assert q.grad.isfinite().all() and q.grad.abs().max() < 100


def test_one_sample_raises():
    with pytest.raises(InputError, match="this batch has one: set batch_size"):
        spkd(drawn(1, 3), drawn(1, 3))


def test_by_default_it_reads_the_last_stage_with_parameters_whole():
    net, other = of_images(), teacher(of_images(1))
    loss = SPKD(1.0, None, None)
    loss.prepare(setting(net, first=other))
    assert loss.activations == ("block2",) and loss.taught == {"first": ("block2",)}
    x = images(5)
    maps, wanted = (one.observe(x, ["block2"])[1]["block2"].flatten(1) for one in (net[0], other.backbone))
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), spkd(maps, wanted))


def test_a_teacher_of_another_kind_and_several_stages_add_up():
    net, other = of_images(), teacher(of_vectors(1))
    loss = SPKD(1.0, [0, "pool"], ["layer*"])
    loss.prepare(setting(net, first=other))
    x = images(5)
    mine, its = net[0].observe(x, ["block1", "pool"])[1], other.backbone.observe(x, ["layer1", "layer2"])[1]
    pairs = [("block1", "layer1"), ("pool", "layer2")]
    expected = sum(spkd(mine[a].flatten(1), its[b].flatten(1)) for a, b in pairs)
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), expected)


def test_of_sequences_it_reads_the_mean_over_real_steps():
    net, other = of_series(), teacher(of_series(1))
    loss = SPKD(1.0, None, None)
    loss.prepare(setting(net, SERIES, first=other))
    x = series(4)
    mine, its = (masked_mean(one.observe(x, ["block2"])[1]["block2"]) for one in (net[0], other.backbone))
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), spkd(mine, its))


def test_its_gradient_reaches_the_net_and_not_the_teacher():
    net, other = of_images(), teacher(of_images(1))
    loss = SPKD(1.0, None, None)
    loss.prepare(setting(net, first=other))
    loss(step(net, loss, images(5), first=other)).backward()
    assert all(p.grad is not None for p in net[0].parameters()) and not list(loss.parameters())
    assert all(p.grad is None for p in other.parameters())


def test_what_does_not_fit_is_said():
    net = of_images()
    with pytest.raises(InputError, match="this run starts from none"):
        SPKD(1.0, None, None).prepare(setting(net))
    with pytest.raises(InputError, match="no stage 'layer9'"):
        SPKD(1.0, ["layer9"], None).prepare(setting(net, IMAGES, first=teacher(of_images(1))))
    with pytest.raises(InputError, match=r"has no stage 'block2'.*spkd\.teacher_stages"):
        SPKD(1.0, None, None).prepare(setting(net, first=teacher(of_vectors())))
