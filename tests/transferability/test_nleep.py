"""NLEEP: its parts against NumPy and Bayes' rule, the whole against LEEP in loops."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from scipy.stats import multivariate_normal
from test_leep import leep_by_definition

from transferlab.errors import InputError
from transferlab.transferability.nleep import nleep, posterior, principal
from transferlab.transferability.spread import Spread


@pytest.mark.parametrize(("energy", "shape"), [(0.5, (30, 6)), (0.8, (30, 6)), (1.0, (30, 6)), (0.8, (7, 40))])
def test_as_few_components_as_hold_the_energy(energy, shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 0.5, shape[1])
    found = principal(Spread.of(x), energy)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    held = np.cumsum(values) / values.sum()
    assert held[found.shape[1] - 1] >= energy - 1e-9
    assert found.shape[1] == 1 or held[found.shape[1] - 2] < energy
    np.testing.assert_allclose((found**2).sum(0), values[: found.shape[1]], rtol=1e-9)


def test_the_posterior_is_bayes_rule_on_a_mixture_at_a_fixed_point_of_em():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(40, 2)) + middle for middle in ([0, 0], [6, 0], [0, 6])])
    p = posterior(x, 3)
    weights, total = p.mean(0), p.sum(0)
    means = p.T @ x / total[:, None]
    spreads = [(p[:, k, None] * (x - means[k])).T @ (x - means[k]) / total[k] for k in range(3)]
    densities = np.stack(
        [w * multivariate_normal.pdf(x, m, c) for w, m, c in zip(weights, means, spreads, strict=True)]
    )
    np.testing.assert_allclose(p, (densities / densities.sum(0)).T, atol=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_leep_of_that_posterior(seed):
    one = drawn(40, seed=seed)
    order = np.lexsort(one.features.T)
    theta = posterior(principal(Spread.of(one.features[order]), 0.8), 6)
    expected = leep_by_definition(theta.tolist(), one.labels[order].tolist())
    assert nleep(one, energy=0.8, components=2) == pytest.approx(expected, rel=1e-9)


def test_classes_that_are_clusters_score_0():
    assert nleep(drawn(60, apart=100.0), energy=0.99, components=1) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"energy": 0.0, "components": 1}, "energy=0.0 is above 0 and at most 1"),
        ({"energy": 1.1, "components": 1}, "energy=1.1 is above 0 and at most 1"),
        ({"energy": 0.8, "components": 0}, "components=0 at least 1"),
        ({"energy": 0.8, "components": 9}, "fits 27 Gaussians to 24 samples: lower components"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        nleep(drawn(), **settings)


def test_features_that_do_not_vary_are_a_sentence():
    one = drawn()
    with pytest.raises(InputError, match="all samples have the same features"):
        nleep(replace(one, features=np.ones_like(one.features)), energy=0.8, components=1)
