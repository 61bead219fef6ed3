from dataclasses import replace

import numpy as np
import pytest
import torch
from feature_nets import drawn, images, of_images, setting, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.features.bss import BSS, bss
from transferlab.tasks.segmentation import Segmentation


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_it_is_the_sum_of_squares_of_the_smallest_singular_values(samples, features, k, seed):
    f, k = drawn(samples, features, seed=seed), min(k, samples, features)
    values = sorted(np.linalg.svd(f.numpy(), compute_uv=False).tolist())
    expected = 0.0
    for value in values[:k]:
        expected += value**2
    assert bss(f, k).item() == pytest.approx(expected, rel=1e-5, abs=1e-20)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
def test_its_gradient_is_right(shape):
    assert torch.autograd.gradcheck(lambda f: bss(f, 2), drawn(*shape).requires_grad_())


def test_its_gradient_is_that_of_the_singular_values():
    f = drawn(6, 9).requires_grad_()
    (own,) = torch.autograd.grad(bss(f, 3), f)
    (torchs,) = torch.autograd.grad(torch.linalg.svdvals(f)[-3:].square().sum(), f)
    torch.testing.assert_close(own, torchs)


def test_of_orthogonal_samples_it_is_the_smallest_squared_lengths():
    directions = torch.linalg.qr(drawn(8, 4)).Q.T
    lengths = torch.tensor([3.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    assert bss(lengths[:, None] * directions, 2).item() == pytest.approx(0.25 + 1)
    assert bss(torch.eye(5, dtype=torch.float64), 3).item() == pytest.approx(3)  # all values alike


def test_of_all_values_it_is_the_squared_norm():
    f = drawn(3, 5)
    assert bss(f, 3).item() == pytest.approx(f.square().sum().item())


def test_equal_singular_values_and_equal_samples_have_a_finite_gradient():
    for f in (torch.eye(4), torch.ones(4, 6), torch.zeros(4, 6)):
        f = f.clone().requires_grad_()
        bss(f, 2).backward()
        assert f.grad.isfinite().all()
    assert bss(torch.ones(4, 6), 2).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4])
def test_float32_keeps_a_value_far_below_the_largest(smallest):
    """Where the Gram matrix in float32 would lose it: squared, the largest is 1e4 or 1e8 times the smallest."""
    left, right = torch.linalg.qr(drawn(64, 64)).Q, torch.linalg.qr(drawn(512, 64, seed=1)).Q
    f = (left * torch.logspace(0, np.log10(smallest), 64, dtype=torch.float64) @ right.T).float().requires_grad_()
    exact = f.detach().double().requires_grad_()
    expected = torch.linalg.svdvals(exact)[-1].square()
    found = bss(f, 1)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    found.backward()
    expected.backward()
    assert (f.grad - exact.grad).norm() < 1e-3 * exact.grad.norm()


def test_autocast_costs_no_precision():
    f = drawn(8, 16).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert bss(f, 2).item() == pytest.approx(bss(f.double(), 2).item(), rel=1e-5)
    assert bss(f.bfloat16(), 2).dtype == torch.float32


def test_what_diverged_is_nan_and_not_an_error_of_linear_algebra():
    assert bss(torch.full((3, 4), float("nan")), 1).isnan()


@pytest.mark.parametrize("k", [0, 4])
def test_more_values_than_there_are_raise(k):
    with pytest.raises(InputError, match=f"k={k}: 3 samples of 5 features have 3"):
        bss(drawn(3, 5), k)


@pytest.fixture
def net():
    return of_images(widths=(3, 4))


def test_the_loss_shrinks_the_targets_features(net):
    loss = BSS(0.001, 2)
    loss.prepare(setting(net))
    seen = step(net, loss, images(6))
    expected = torch.linalg.svdvals(seen.observed["target"].features)[-2:].square().sum()
    torch.testing.assert_close(loss(seen), expected)


def test_a_batch_smaller_than_k_is_an_error_in_training_alone(net):
    loss = BSS(0.001, 3)
    loss.prepare(setting(net))
    with pytest.raises(InputError, match="batch_size"):
        loss(step(net, loss, images(2)))
    loss.eval()  # a rehearsal of two samples
    assert loss(step(net, loss, images(2))).isfinite()


def test_what_does_not_fit_is_said(net):
    with pytest.raises(InputError, match="k=0: at least 1"):
        BSS(0.001, 0)
    with pytest.raises(InputError, match="k=5: backbone 'convnet' has 4 features"):
        BSS(0.001, 5).prepare(setting(net))
    dense = replace(setting(net), task=Segmentation(None, None, "miou"))
    with pytest.raises(InputError, match="one vector a sample"):
        BSS(0.001, 1).prepare(dense)
