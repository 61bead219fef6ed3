import pytest
import torch
from both_sides import drawn

from transferlab.errors import InputError
from transferlab.losses.domains.kernels import Gaussians, quad_distances, squared_distances


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_distances_are_those_of_the_broadcast_formula_whatever_offset_all_share(offset):
    source, target = (drawn(6, 50, seed=0) + offset).float(), (drawn(4, 50, seed=1) + offset).float()
    rows = torch.cat([source, target]).double()
    expected = (rows[:, None] - rows[None]).square().sum(-1)
    torch.testing.assert_close(squared_distances(source, target).double(), expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_distances_is_right_and_equal_samples_have_none():
    source, target = drawn(3, 4).requires_grad_(), drawn(2, 4, seed=1).requires_grad_()
    weights = drawn(5, 5, seed=2)
    assert torch.autograd.gradcheck(lambda s, t: squared_distances(s, t) * weights, (source, target))
    alike = torch.ones(3, 4, requires_grad=True)
    squared_distances(alike, torch.ones(2, 4)).sum().backward()
    assert torch.equal(alike.grad, torch.zeros(3, 4))


def test_half_precision_is_computed_in_full():
    source, target = drawn(3, 4).half() * 100, drawn(2, 4, seed=1).half() * 100
    assert squared_distances(source, target).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        inside = squared_distances(source.float(), target.float())
    torch.testing.assert_close(inside, squared_distances(source.float(), target.float()), rtol=0, atol=0)


def test_each_sample_is_in_one_quad_and_what_is_beyond_is_left_out():
    s, t = drawn(5, 3), drawn(7, 3, seed=1)
    found = quad_distances(s, t)
    pairs = [[(s[0], s[1]), (s[2], s[3])], [(t[0], t[1]), (t[2], t[3])], [(s[0], t[1]), (s[2], t[3])]]
    pairs += [[(s[1], t[0]), (s[3], t[2])]]
    expected = torch.tensor([[(a - b).square().sum() for a, b in row] for row in pairs], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("factor", [2.0, 3.0, 2**0.5])
@pytest.mark.parametrize("kernels", [1, 5, 12])
def test_squares_of_kernels_are_the_kernels_themselves(factor, kernels):
    """In float32, against each exponential in float64."""
    distances = torch.rand(400, generator=torch.Generator().manual_seed(0)) * 20
    expected = sum(torch.exp(-distances.double() / (1.5 * factor ** (i - kernels // 2))) for i in range(kernels))
    found = Gaussians("k.", kernels, factor, 1.5).of(distances, distances)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bandwidth", ["median", "mean"])
def test_the_middle_width_is_of_the_pairs_and_has_no_gradient(bandwidth):
    distances = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64, requires_grad=True)
    width = {"median": 2.0, "mean": 3.0}[bandwidth]
    found = Gaussians("k.", 1, 2.0, bandwidth).of(distances, distances)
    torch.testing.assert_close(found, torch.exp(-distances / width))
    found.sum().backward()
    torch.testing.assert_close(distances.grad, -torch.exp(-distances.detach() / width) / width)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0, 2.0, "median"), r"k\.kernels=0: at least 1"),
        ((5, 1.0, "median"), r"k\.factor=1.0: a number above 1"),
        ((5, 2.0, "media"), r"k\.bandwidth 'media'; did you mean 'median'"),
        ((5, 2.0, 0.0), r"k\.bandwidth=0.0: a number above 0"),
    ],
)
def test_what_is_no_kernel_is_said(given, said):
    with pytest.raises(InputError, match=said):
        Gaussians("k.", *given)
