from math import exp

import pytest
import torch
from both_sides import MANY, assert_the_net_learns, drawn, features, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.jmmd import JMMD, jmmd
from transferlab.losses.domains.kernels import Gaussians
from transferlab.losses.domains.mk_mmd import mk_mmd

WIDTHS = 1.5, 0.8


def gaussians(kernels=3, bandwidth: float | str = WIDTHS[0]):
    return Gaussians("strategy.losses.jmmd.", kernels, 2.0, bandwidth)


OUTPUTS = gaussians(1, WIDTHS[1])


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def product(a, b):
    """Three kernels on features times one on predictions, of two samples (features, predictions)."""
    wide = sum(exp(-squared(a[0], b[0]) / (WIDTHS[0] * 2.0 ** (i - 1))) for i in range(3))
    return wide * exp(-squared(a[1], b[1]) / WIDTHS[1])


def mean(one, other, estimator, same=False):
    skip = same and estimator == "unbiased"
    found = [product(a, b) for i, a in enumerate(one) for j, b in enumerate(other) if not (skip and i == j)]
    return sum(found) / len(found)


def naive(s, t, estimator):
    if estimator == "linear":
        pairs = range(0, min(len(s), len(t)) // 2 * 2, 2)
        found = [
            product(s[i], s[i + 1]) + product(t[i], t[i + 1]) - product(s[i], t[i + 1]) - product(s[i + 1], t[i])
            for i in pairs
        ]
        return sum(found) / len(found)
    return mean(s, s, estimator, True) + mean(t, t, estimator, True) - 2 * mean(s, t, estimator)


def layers(n, m, size, classes, seed=0):
    sides = [
        (drawn(count, size, seed=seed + i), drawn(count, classes, seed=seed + 2 + i)) for i, count in ((0, n), (1, m))
    ]
    return [(sides[0][0], sides[1][0]), (sides[0][1].softmax(1), sides[1][1].softmax(1))]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 5),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(2, 4),
    st.sampled_from(["quadratic", "unbiased", "linear"]),
    st.integers(0, 99),
)
def test_it_is_the_estimate_of_the_product_kernel_written_out(n, m, size, classes, estimator, seed):
    given = layers(n, m, size, classes, seed)
    s, t = (list(zip(*(layer[i].tolist() for layer in given), strict=True)) for i in (0, 1))
    found = jmmd(given, [gaussians(), OUTPUTS], estimator)
    assert found.item() == pytest.approx(naive(s, t, estimator), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("estimator", ["quadratic", "unbiased", "linear"])
def test_its_gradient_is_right(estimator):
    (s, t), (p, q) = layers(4, 4, 3, 2)
    given = [side.clone().requires_grad_() for side in (s, t, p, q)]
    kernels = [gaussians(), OUTPUTS]
    assert torch.autograd.gradcheck(lambda s, t, p, q: jmmd([(s, t), (p, q)], kernels, estimator), given)


def test_of_one_layer_it_is_mk_mmd_and_so_it_is_where_all_predictions_are_alike():
    (pair, _), of = layers(5, 4, 3, 2), gaussians(5, "median")
    expected = mk_mmd(*pair, of, "quadratic")
    torch.testing.assert_close(jmmd([pair], [of], "quadratic"), expected)
    alike = torch.full((5, 2), 0.5, dtype=torch.float64), torch.full((4, 2), 0.5, dtype=torch.float64)
    torch.testing.assert_close(jmmd([pair, alike], [of, OUTPUTS], "quadratic"), expected)


def test_it_sees_what_features_and_predictions_alone_do_not():
    """Both sides have the same features and the same predictions, but the other way around."""
    x = torch.tensor([[-1.0], [1.0]] * 4, dtype=torch.float64)
    p = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 4, dtype=torch.float64)
    of = gaussians(5, "median")
    assert mk_mmd(x, x, of, "quadratic").item() == pytest.approx(0, abs=1e-12)
    assert mk_mmd(p, p.flip(1), of, "quadratic").item() == pytest.approx(0, abs=1e-12)
    assert jmmd([(x, x), (p, p.flip(1))], [of, OUTPUTS], "quadratic") > 0.1


def test_it_is_0_for_a_sample_beside_itself_symmetric_and_blind_to_order():
    (s, t), (p, q) = layers(5, 4, 3, 3)
    kernels = [gaussians(5, "median"), OUTPUTS]
    assert jmmd([(s, s), (p, p)], kernels, "quadratic").item() == pytest.approx(0, abs=1e-12)
    value = jmmd([(s, t), (p, q)], kernels, "quadratic")
    torch.testing.assert_close(jmmd([(t, s), (q, p)], kernels, "quadratic"), value)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(jmmd([(s[order], t), (p[order], q)], kernels, "quadratic"), value)


def loss_of(net, stages=None):
    return prepared(JMMD(1.0, stages, 5, 2.0, "median", 1, 1.68, "quadratic"), net)


@pytest.mark.parametrize("stages", [None, ["block1", "pool"]])
def test_the_loss_compares_stages_and_predictions_jointly(stages):
    net = small_net()
    loss = loss_of(net, stages)
    seen = step(net, loss)
    sides = [seen.observed[name] for name in ("source", "unlabeled")]
    compared = [tuple(features(seen))]
    if stages:
        compared = [tuple(side.activations["block1"].mean((2, 3)) for side in sides), compared[0]]
    shares = tuple(side.outputs.softmax(1) for side in sides)
    kernels = [gaussians(5, "median")] * len(compared) + [gaussians(1, 1.68)]
    torch.testing.assert_close(loss(seen), jmmd([*compared, shares], kernels, "quadratic"))
    assert_the_net_learns(net, loss(seen))


def test_samples_that_are_alike_raise():
    alike = torch.ones(4, 3)
    with pytest.raises(InputError, match=r"bandwidth=median is 0, because the samples.* are alike"):
        jmmd([(alike, alike), (alike, alike)], [gaussians(5, "median"), OUTPUTS], "quadratic")


def test_what_does_not_fit_is_said():
    net = small_net()
    with pytest.raises(InputError, match="task=classification"):
        JMMD(1.0, None, 5, 2.0, "median", 1, 1.68, "quadratic").prepare(setting(net, MANY))
    with pytest.raises(InputError, match=r"jmmd\.output_kernels=0"):
        JMMD(1.0, None, 5, 2.0, "median", 0, 1.68, "quadratic")
    with pytest.raises(InputError, match="did you mean 'unbiased'"):
        JMMD(1.0, None, 5, 2.0, "median", 1, 1.68, "unbiassed")
    with pytest.raises(InputError, match=r"jmmd\.estimator=linear takes two"):
        jmmd(layers(1, 3, 2, 2), [gaussians(), OUTPUTS], "linear")
