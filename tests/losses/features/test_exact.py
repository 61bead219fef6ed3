import pytest
import torch
from feature_nets import drawn

from transferlab.losses.features.exact import full_precision, unit


@full_precision
def product(a, b):
    return a @ b.mT


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision_are_left_outside(kind):
    a = drawn(4, 300).to(kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = product(a, a)
        assert (a.float() @ a.float().mT).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, a.float() @ a.float().mT, rtol=1e-6, atol=1e-6)


def test_other_numbers_stay_as_they_are():
    assert product(drawn(2, 3), drawn(2, 3)).dtype == torch.float64
    assert product(drawn(2, 3).float(), drawn(2, 3).float()).dtype == torch.float32


def test_directions_have_length_1_and_a_right_gradient():
    vectors = drawn(3, 2, 4)
    torch.testing.assert_close(unit(vectors).square().sum(-1), torch.ones(3, 2, dtype=torch.float64))
    assert torch.autograd.gradcheck(unit, vectors.requires_grad_())


def test_zero_has_no_direction_and_a_finite_gradient():
    vectors = torch.zeros(2, 3, requires_grad=True)
    unit(vectors).sum().backward()
    assert not unit(vectors).any() and vectors.grad.abs().max() <= 1
