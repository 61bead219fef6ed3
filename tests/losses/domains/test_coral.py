import pytest
import torch
from both_sides import assert_the_net_learns, drawn, features, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.coral import CORAL, by_features, by_samples, coral


def covariance(rows):
    """One entry at a time, with n - 1."""
    n, size = len(rows), len(rows[0])
    means = [sum(row[a] for row in rows) / n for a in range(size)]
    return [
        [sum((row[a] - means[a]) * (row[b] - means[b]) for row in rows) / (n - 1) for b in range(size)]
        for a in range(size)
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(1, 12), st.integers(0, 99))
def test_it_is_the_papers_equation_written_out(n, m, size, seed):
    s, t = drawn(n, size, seed=seed), 1.5 * drawn(m, size, seed=seed + 1)
    one, other = covariance(s.tolist()), covariance(t.tolist())
    expected = sum((one[a][b] - other[a][b]) ** 2 for a in range(size) for b in range(size)) / (4 * size**2)
    assert coral(s, t).item() == pytest.approx(expected, rel=1e-6)


def test_it_is_the_difference_of_torchs_covariances():
    for s, t in ((drawn(9, 4), drawn(7, 4, seed=1)), (drawn(4, 30), drawn(5, 30, seed=1))):
        expected = (torch.cov(s.T) - torch.cov(t.T)).square().sum() / (4 * s.shape[1] ** 2)
        torch.testing.assert_close(coral(s, t), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_both_ways_are_one(n, m, size, seed):
    s, t = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1)
    torch.testing.assert_close(by_samples(s, t), by_features(s, t))


def test_both_ways_are_one_in_float32_at_the_size_of_a_resnets_features():
    s, t = drawn(32, 512).float(), drawn(32, 512, seed=1).float()
    exact = by_features(s.double(), t.double()).item()
    assert by_samples(s, t).item() == pytest.approx(exact, rel=1e-5)
    assert by_features(s, t).item() == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 2), (3, 9)])
def test_its_gradient_is_right(shape):
    sides = drawn(*shape).requires_grad_(), drawn(*shape, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(coral, sides)


@pytest.mark.parametrize("size", [2, 40])
def test_it_does_not_see_an_offset_and_is_0_for_a_sample_beside_itself(size):
    s, t = drawn(5, size), drawn(6, size, seed=1)
    torch.testing.assert_close(coral(s + 3, t - 2), coral(s, t))
    assert coral(s, s.flip(0) + 1).item() == pytest.approx(0, abs=1e-12)


def test_of_one_feature_it_is_known_in_closed_form():
    """Variances 2 and 8: (2 - 8)^2 / 4."""
    assert coral(torch.tensor([[-1.0], [1.0]]), torch.tensor([[-2.0], [2.0]])).item() == pytest.approx(9)


def test_one_sample_raises():
    with pytest.raises(InputError, match="1 of the source and 3 of the target: set batch_size to 2"):
        coral(drawn(1, 2), drawn(3, 2))


def test_the_loss_compares_features_or_the_sum_over_stages():
    net = small_net()
    loss = prepared(CORAL(1.0, None), net)
    seen = step(net, loss)
    torch.testing.assert_close(loss(seen), coral(*features(seen)))
    loss = prepared(CORAL(1.0, ["block1", "pool"]), net)
    seen = step(net, loss)
    sides = [seen.observed[name].activations["block1"].mean((2, 3)) for name in ("source", "unlabeled")]
    torch.testing.assert_close(loss(seen), coral(*sides) + coral(*features(seen)))
    assert_the_net_learns(net, loss(seen), head=False)
    with pytest.raises(InputError, match="there is no stage 'nowhere'"):
        CORAL(1.0, ["nowhere"]).prepare(setting(net))
