from itertools import permutations
from math import dist

import pytest
import torch
from feature_nets import drawn, images, of_images, of_vectors, setting, step, teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.features.rkd import RKD, angle_wise, distance_wise

SHAPES = (st.integers(2, 5), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))


def huber(a, b):
    apart = abs(a - b)
    return apart**2 / 2 if apart <= 1 else apart - 0.5


def relative(points):
    """psi_D of every pair of distinct samples."""
    pairs = list(permutations(range(len(points)), 2))
    lengths = [dist(points[i], points[j]) for i, j in pairs]
    mean = sum(lengths) / len(pairs)
    return [length / mean for length in lengths]


def cosines(points):
    """psi_A of every triple of distinct samples."""
    found = []
    for i, j, k in permutations(range(len(points)), 3):
        one, other = ([a - b for a, b in zip(points[n], points[j], strict=True)] for n in (i, k))
        product = sum(a * b for a, b in zip(one, other, strict=True))
        found.append(product / dist(points[i], points[j]) / dist(points[k], points[j]))
    return found


@settings(max_examples=25, deadline=None)
@given(*SHAPES)
def test_distances_are_the_papers_formula_written_out(samples, own, other, seed):
    student, taught = drawn(samples, own, seed=seed), drawn(samples, other, seed=seed + 1)
    terms = [huber(a, b) for a, b in zip(relative(student.tolist()), relative(taught.tolist()), strict=True)]
    assert distance_wise(student, taught).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(*SHAPES)
def test_angles_are_the_papers_formula_written_out(samples, own, other, seed):
    student, taught = drawn(samples, own, seed=seed), drawn(samples, other, seed=seed + 1)
    terms = [huber(a, b) for a, b in zip(cosines(student.tolist()), cosines(taught.tolist()), strict=True)]
    expected = sum(terms) / max(len(terms), 1)
    assert angle_wise(student, taught).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("features", [2, 9])
@pytest.mark.parametrize("formula", [distance_wise, angle_wise])
def test_its_gradient_is_right(formula, features):
    taught = drawn(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: formula(x, taught), drawn(4, features).requires_grad_())


@pytest.mark.parametrize("formula", [distance_wise, angle_wise])
def test_it_does_not_see_shift_rotation_and_scale(formula):
    x = drawn(5, 4)
    moved = 3 * x @ torch.linalg.qr(drawn(4, 4, seed=1)).Q + 7
    assert formula(moved, x).item() == pytest.approx(0, abs=1e-12)


def test_the_corners_of_a_line_and_of_a_triangle_are_known():
    """An even triangle has three angles of 60 degrees, a line 0, 0 and 180; its distances are 1, 1, 2 over 4 / 3."""
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    line = torch.tensor([[0.0], [1.0], [2.0]])
    assert angle_wise(triangle, line).item() == pytest.approx((2 * 0.5**2 / 2 + (1.5 - 0.5)) / 3)
    assert distance_wise(triangle, line).item() == pytest.approx((2 * 0.25**2 / 2 + 0.5**2 / 2) / 3)


@pytest.mark.parametrize("formula", [distance_wise, angle_wise])
def test_equal_samples_have_a_finite_value_and_gradient(formula):
    taught = drawn(4, 3, seed=1).float()
    for x in (torch.ones(4, 3), torch.cat([torch.ones(2, 3), drawn(2, 3).float()])):
        x = x.clone().requires_grad_()
        value = formula(x, taught)
        value.backward()
        assert value > 0 and x.grad.isfinite().all() and x.grad.abs().max() < 100
        assert formula(taught, x.detach()).isfinite()


def test_near_samples_far_from_zero_keep_their_distance_in_float32():
    x = drawn(6, 8) * 1e-3
    far = (x + 1000).float()
    assert distance_wise(far, far.double()).item() == pytest.approx(0, abs=1e-10)
    assert angle_wise(far, far.double()).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("formula", [distance_wise, angle_wise])
def test_one_sample_raises(formula):
    with pytest.raises(InputError, match="this batch has one: set batch_size"):
        formula(drawn(1, 3), drawn(1, 3))


def test_both_count_by_their_weights_on_the_features():
    net, other = of_images(), teacher(of_vectors(1))
    x = images(5)
    for distance, angle in ((25.0, 50.0), (0.0, 2.0), (3.0, 0.0)):
        loss = RKD(1.0, distance, angle, [-1], [-1])
        loss.prepare(setting(net, first=other))
        mine, its = net[0](x), other.backbone(x)
        expected = distance * distance_wise(mine, its) + angle * angle_wise(mine, its)
        torch.testing.assert_close(loss(step(net, loss, x, first=other)), expected)


def test_several_teachers_are_a_mean_by_their_weights():
    net, first, second = of_images(), teacher(of_images(1), 3.0), teacher(of_images(2), 1.0)
    loss = RKD(1.0, 1.0, 2.0, [-1], None)
    loss.prepare(setting(net, first=first, second=second))
    x = images(5)
    one, other = (loss(step(net, loss, x, **{name: net_})) for name, net_ in (("first", first), ("second", second)))
    torch.testing.assert_close(loss(step(net, loss, x, first=first, second=second)), 0.75 * one + 0.25 * other)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, -1.0), (0.0, 0.0)])
def test_weights_of_nothing_raise(weights):
    with pytest.raises(InputError, match=r"rkd\.distance"):
        RKD(1.0, *weights, [-1], None)


def test_without_a_teacher_it_says_what_to_set():
    with pytest.raises(InputError, match="this run starts from none"):
        RKD(1.0, 1.0, 1.0, [-1], None).prepare(setting(of_images()))
