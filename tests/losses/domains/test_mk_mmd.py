from math import exp

import pytest
import torch
from both_sides import assert_the_net_learns, drawn, features, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.kernels import Gaussians
from transferlab.losses.domains.mk_mmd import MKMMD, mk_mmd


def gaussians(kernels=5, factor=2.0, bandwidth="median"):
    return Gaussians("strategy.losses.mk_mmd.", kernels, factor, bandwidth)


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def middle(distances, bandwidth):
    """The lower median, or the mean."""
    if bandwidth == "median":
        return sorted(distances)[(len(distances) - 1) // 2]
    return sum(distances) / len(distances) if bandwidth == "mean" else bandwidth


def kernel(a, b, width, kernels, factor):
    return sum(exp(-squared(a, b) / (width * factor ** (i - kernels // 2))) for i in range(kernels))


def naive(source, target, kernels, factor, bandwidth, estimator):
    """One pair of samples at a time."""
    s, t = source.tolist(), target.tolist()
    if estimator == "linear":
        quads = [(s[i], s[i + 1], t[i], t[i + 1]) for i in range(0, min(len(s), len(t)) // 2 * 2, 2)]
        pairs = [((a, b), (c, d), (a, d), (b, c)) for a, b, c, d in quads]
        width = middle([squared(*pair) for quad in pairs for pair in quad], bandwidth)
        signs = (1, 1, -1, -1)
        terms = [sign * kernel(*p, width, kernels, factor) for q in pairs for sign, p in zip(signs, q, strict=True)]
        return sum(terms) / len(pairs)
    both = s + t
    width = middle([squared(both[i], both[j]) for i in range(len(both)) for j in range(i)], bandwidth)

    def mean(one, other, same):
        skip = same and estimator == "unbiased"
        found = [
            kernel(a, b, width, kernels, factor)
            for i, a in enumerate(one)
            for j, b in enumerate(other)
            if not (skip and i == j)
        ]
        return sum(found) / len(found)

    return mean(s, s, True) + mean(t, t, True) - 2 * mean(s, t, False)


SHAPES = st.integers(2, 6), st.integers(2, 6), st.integers(1, 5)


@settings(max_examples=25, deadline=None)
@given(
    *SHAPES,
    st.integers(1, 7),
    st.sampled_from([2.0, 3.0]),
    st.sampled_from(["median", "mean", 1.3]),
    st.sampled_from(["quadratic", "unbiased", "linear"]),
    st.integers(0, 99),
)
def test_it_is_the_estimate_written_out(n, m, size, kernels, factor, bandwidth, estimator, seed):
    s, t = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1) + 0.5
    expected = naive(s, t, kernels, factor, bandwidth, estimator)
    found = mk_mmd(s, t, gaussians(kernels, factor, bandwidth), estimator)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def broadcast(source, target, kernels, factor):
    """The usual way, with an (n + m, n + m, F) tensor."""
    rows, n = torch.cat([source, target]), len(source)
    distances = (rows[:, None] - rows[None]).square().sum(-1)
    width = distances.detach().sum() / (len(rows) * (len(rows) - 1))
    kernel = sum(torch.exp(-distances / (width * factor ** (i - kernels // 2))) for i in range(kernels))
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0])
def test_in_float32_it_is_the_broadcast_formula_also_far_from_the_origin(offset, shift):
    """Value and gradient, where the kernels' means have 0.01 to 1 of a difference of their about 5."""
    s, t = (drawn(48, 256) + offset).float(), (drawn(40, 256, seed=1) + offset + shift).float()
    exact = [side.double().requires_grad_() for side in (s, t)]
    own = [side.requires_grad_() for side in (s, t)]
    expected, found = broadcast(*exact, 5, 2.0), mk_mmd(*own, gaussians(bandwidth="mean"), "quadratic")
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    for mine, theirs in zip(own, exact, strict=True):
        assert (mine.grad - theirs.grad).norm() < 1e-4 * theirs.grad.norm()


@pytest.mark.parametrize("estimator", ["quadratic", "unbiased", "linear"])
def test_its_gradient_is_right(estimator):
    sides = drawn(4, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: mk_mmd(s, t, gaussians(bandwidth=2.0), estimator), sides)


@settings(max_examples=20, deadline=None)
@given(*SHAPES, st.integers(0, 99))
def test_it_is_0_for_a_sample_beside_itself_symmetric_and_blind_to_order(n, m, size, seed):
    s, t = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1)
    of = gaussians()
    assert mk_mmd(s, s, of, "quadratic").item() == pytest.approx(0, abs=1e-12)
    value = mk_mmd(s, t, of, "quadratic").item()
    assert value >= -1e-12
    assert mk_mmd(t, s, of, "quadratic").item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for estimator in ("quadratic", "unbiased"):
        value = mk_mmd(s, t, of, estimator).item()
        assert mk_mmd(s[order], t, of, estimator).item() == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("estimator", ["unbiased", "linear"])
def test_of_one_distribution_the_unbiased_estimates_are_0_on_average_and_the_biased_one_is_above(estimator):
    def mean(name):
        batches = ((drawn(8, 2, seed=i), drawn(8, 2, seed=i + 1000)) for i in range(400))
        return torch.stack([mk_mmd(*batch, gaussians(1, bandwidth=4.0), name) for batch in batches])

    found = mean(estimator)
    assert abs(found.mean()) < 4 * found.std() / 20
    biased = mean("quadratic")
    assert biased.mean() > 10 * biased.std() / 20


def test_no_tensor_is_as_large_as_all_pairs_times_all_features(monkeypatch):
    """The largest that is made or kept for the gradient has the size of the samples or of their pairs."""
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            made = found if isinstance(found, tuple | list) else (found,)
            largest = max([largest, *(one.untyped_storage().nbytes() for one in made if isinstance(one, torch.Tensor))])
            return found

    s, t = drawn(20, 300).float().requires_grad_(), drawn(20, 300, seed=1).float().requires_grad_()
    with Sizes():
        mk_mmd(s, t, gaussians(), "quadratic").backward()
    assert largest == 40 * 300 * 4


def test_samples_that_are_alike_raise():
    alike = torch.ones(4, 3)
    for bandwidth in ("median", "mean"):
        with pytest.raises(
            InputError, match=f"bandwidth={bandwidth} is 0, because the samples.* are alike: set a number"
        ):
            mk_mmd(alike, alike, gaussians(bandwidth=bandwidth), "quadratic")
    assert mk_mmd(alike, alike + 1, gaussians(bandwidth=1.0), "quadratic") > 1


@pytest.mark.parametrize("estimator", ["unbiased", "linear"])
def test_one_sample_raises_where_two_are_needed(estimator):
    with pytest.raises(InputError, match=rf"mk_mmd\.estimator={estimator} takes two .* 1 of the source and 3 of"):
        mk_mmd(drawn(1, 2), drawn(3, 2), gaussians(), estimator)
    assert mk_mmd(drawn(1, 2), drawn(1, 2, seed=1), gaussians(), "quadratic") > 0


def test_what_diverged_is_nan():
    assert mk_mmd(torch.full((3, 2), torch.nan), drawn(3, 2), gaussians(), "quadratic").isnan()


def test_the_loss_compares_features_or_the_sum_over_stages():
    net = small_net()
    loss = prepared(MKMMD(1.0, None, 5, 2.0, "median", "quadratic"), net)
    seen = step(net, loss)
    torch.testing.assert_close(loss(seen), mk_mmd(*features(seen), gaussians(), "quadratic"))
    loss = prepared(MKMMD(1.0, ["block1", "block2"], 5, 2.0, "median", "quadratic"), net)
    seen = step(net, loss)
    sides = [seen.observed[name].activations for name in ("source", "unlabeled")]
    expected = sum(
        mk_mmd(*(side[stage].mean((2, 3)) for side in sides), gaussians(), "quadratic")
        for stage in ("block1", "block2")
    )
    torch.testing.assert_close(loss(seen), expected)
    assert_the_net_learns(net, loss(seen), head=False)


def test_what_does_not_fit_is_said():
    net = small_net()
    with pytest.raises(InputError, match="did you mean 'linear'"):
        MKMMD(1.0, None, 5, 2.0, "median", "liner")
    with pytest.raises(InputError, match="source has none"):
        MKMMD(1.0, None, 5, 2.0, "median", "quadratic").prepare(setting(net, domains=("target",)))
    with pytest.raises(InputError, match="there is no stage 'nowhere'"):
        MKMMD(1.0, ["nowhere"], 5, 2.0, "median", "quadratic").prepare(setting(net))
