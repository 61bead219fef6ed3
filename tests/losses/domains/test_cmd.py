from math import sqrt

import pytest
import torch
from both_sides import assert_the_net_learns, drawn, features, prepared, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import moment

from transferlab.errors import InputError
from transferlab.losses.domains.cmd import CMD, cmd, range_of


def moments(rows, order):
    """Of each feature the mean, or from order 2 on the central moment."""
    found = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        found.append(mean if order == 1 else sum((v - mean) ** order for v in column) / len(column))
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 6), st.integers(2, 6), st.integers(1, 5), st.integers(1, 6), st.floats(0.5, 4), st.integers(0, 99)
)
def test_it_is_the_papers_estimate_written_out(n, m, size, orders, span, seed):
    s, t = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1).sigmoid()
    expected = 0.0
    for k in range(1, orders + 1):
        apart = zip(moments(s.tolist(), k), moments(t.tolist(), k), strict=True)
        expected += sqrt(sum((a - b) ** 2 for a, b in apart)) / span**k
    assert cmd(s, t, orders, span).item() == pytest.approx(expected, rel=1e-6)


def test_the_moments_are_scipys():
    """Of one feature, whose means are taken away, K moments are a sum of absolute differences."""
    s, t = drawn(9, 1), drawn(7, 1, seed=1)
    s, t = s - s.mean(), t - t.mean()
    expected = sum(abs(moment(s.numpy()[:, 0], k) - moment(t.numpy()[:, 0], k)) for k in range(2, 6))
    assert cmd(s, t, 5, 1.0).item() == pytest.approx(expected)


def test_its_gradient_is_right():
    sides = drawn(4, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: cmd(s, t, 5, 2.0), sides)


def test_it_is_0_with_a_finite_gradient_for_a_sample_beside_itself_symmetric_and_blind_to_order():
    s, t = drawn(5, 3).requires_grad_(), drawn(4, 3, seed=1)
    same = cmd(s, s.detach().clone(), 5, 1.0)
    same.backward()
    assert same.item() == 0 and s.grad.isfinite().all()
    torch.testing.assert_close(cmd(s, t, 5, 1.0), cmd(t, s.flip(0), 5, 1.0))


def test_with_the_batchs_range_it_does_not_see_scale_and_offset():
    s, t = drawn(5, 3), drawn(6, 3, seed=1)
    value = cmd(s, t, 5, range_of(s, t))
    torch.testing.assert_close(cmd(7 * s + 2, 7 * t + 2, 5, range_of(7 * s + 2, 7 * t + 2)), value)
    assert range_of(s, t).item() == torch.cat([s, t]).max() - torch.cat([s, t]).min()


def test_distributions_at_the_ends_of_the_interval_differ_by_their_means_alone():
    s, t = torch.zeros(3, 4), torch.ones(3, 4)
    assert cmd(s, t, 5, 1.0).item() == pytest.approx(2)  # sqrt(4) in the means, 0 in the central moments


def test_what_cannot_be_computed_raises():
    with pytest.raises(InputError, match="1 of the source and 3 of the target: set batch_size to 2"):
        cmd(drawn(1, 2), drawn(3, 2), 5, 1.0)
    with pytest.raises(InputError, match=r"cmd\.bounds=null .* all alike: set bounds"):
        range_of(torch.ones(2, 3), torch.ones(4, 3))


def test_the_loss_takes_bounds_or_the_batchs_range():
    net = small_net()
    loss = prepared(CMD(1.0, None, 5, [0.0, 3.0]), net)
    seen = step(net, loss)
    s, t = features(seen)
    torch.testing.assert_close(loss(seen), cmd(s, t, 5, 3.0))
    loss = prepared(CMD(1.0, ["block1", "pool"], 3, None), net)
    seen = step(net, loss)
    maps = [seen.observed[name].activations["block1"].mean((2, 3)) for name in ("source", "unlabeled")]
    torch.testing.assert_close(loss(seen), cmd(*maps, 3, range_of(*maps)) + cmd(s, t, 3, range_of(s, t)))
    assert_the_net_learns(net, loss(seen), head=False)


@pytest.mark.parametrize(
    ("moments", "bounds", "said"),
    [(0, None, "moments=0: at least 1"), (5, [1.0, 0.0], r"bounds=\[1.0, 0.0\]"), (5, [1.0], r"bounds=\[1.0\]")],
)
def test_what_does_not_fit_is_said(moments, bounds, said):
    with pytest.raises(InputError, match=said):
        CMD(1.0, None, moments, bounds)
