"""CKA against its definition in loops, and what it must not depend on."""

import itertools

import numpy as np
import pytest
import torch

from transferlab.diagnostics.base import linear_gram
from transferlab.diagnostics.cka import minibatch_cka, unbiased_hsic


def hsic_by_definition(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012: a U-statistic, the mean over all four different samples of k_ij (l_ij + l_qr - 2 l_iq)."""
    n = len(k)
    terms = [k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in itertools.permutations(range(n), 4)]
    return float(np.mean(terms))


def grams(x: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    return [linear_gram(part) for part in x.split(sizes)]


def test_unbiased_hsic_is_the_u_statistic_over_all_quadruples_of_samples() -> None:
    rng = np.random.default_rng(0)
    for n in (4, 7):
        x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 5))
        ours = unbiased_hsic(torch.tensor(x @ x.T), torch.tensor(y @ y.T))
        assert ours == pytest.approx(hsic_by_definition(x @ x.T, y @ y.T), rel=1e-10)


def test_unbiased_hsic_of_independent_data_is_zero_in_the_mean_where_the_biased_one_is_not() -> None:
    draws = torch.Generator().manual_seed(0)
    pairs = [[torch.randn(6, 4, generator=draws, dtype=torch.float64) for _ in range(2)] for _ in range(4000)]
    values = np.array([unbiased_hsic(x @ x.T, y @ y.T) for x, y in pairs])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    centre = np.eye(6) - 1 / 6
    biased = np.array([np.trace((x @ x.T).numpy() @ centre @ (y @ y.T).numpy() @ centre) / 25 for x, y in pairs])
    assert biased.mean() > 40 * biased.std() / np.sqrt(len(biased))


def test_cka_of_a_representation_with_itself_is_1() -> None:
    x = torch.randn(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert minibatch_cka(grams(x, [20, 20]), grams(x, [20, 20])) == pytest.approx(1, abs=1e-12)


def test_cka_knows_neither_rotation_nor_scale_nor_shift() -> None:
    draws = torch.Generator().manual_seed(2)
    x, y = torch.randn(48, 10, generator=draws), torch.randn(48, 6, generator=draws)
    y = y + x[:, :6]
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=draws)).Q
    sizes = [16, 16, 16]
    before = minibatch_cka(grams(x, sizes), grams(y, sizes))
    assert 0.1 < before < 0.9
    assert minibatch_cka(grams(3 * x @ rotation + 100, sizes), grams(y, sizes)) == pytest.approx(before, abs=1e-4)
    assert minibatch_cka(grams(x * torch.linspace(0.1, 3, 10), sizes), grams(y, sizes)) != pytest.approx(
        before, abs=1e-2
    )


def test_cka_of_minibatches_is_hsic_averaged_before_it_is_divided() -> None:
    draws = torch.Generator().manual_seed(3)
    x, y = torch.randn(24, 5, generator=draws), torch.randn(24, 5, generator=draws)
    gx, gy = grams(x, [12, 12]), grams(y, [12, 12])

    def mean(a, b):
        return np.mean([unbiased_hsic(k, l) for k, l in zip(a, b, strict=True)])  # noqa: E741

    assert minibatch_cka(gx, gy) == pytest.approx(mean(gx, gy) / np.sqrt(mean(gx, gx) * mean(gy, gy)))


def test_a_representation_that_does_not_vary_has_no_cka() -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))
    assert np.isnan(minibatch_cka(grams(x, [8]), grams(torch.ones(8, 3), [8])))
