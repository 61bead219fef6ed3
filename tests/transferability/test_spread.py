"""The principal directions that scores share: against an SVD, and found once."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import SCORES, drawn

from transferlab.transferability.spread import Spread


@pytest.mark.parametrize(("shape", "rank"), [((30, 6), 6), ((7, 40), 6), ((30, 6), 2), ((12, 12), 11), ((1, 3), 0)])
def test_it_is_the_decomposition_of_the_samples_around_their_mean(shape, rank):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])) + 3
    aside, found = x - x.mean(0), Spread.of(x)
    lengths = np.linalg.svd(aside, compute_uv=False)[:rank]
    np.testing.assert_allclose(found.variances, lengths**2 / len(x), rtol=1e-9)
    np.testing.assert_allclose(found.places @ found.places.T, aside @ aside.T, atol=1e-9)
    np.testing.assert_allclose(found.places.T @ found.places, np.diag(lengths**2), atol=1e-9)


def test_samples_that_are_alike_have_no_direction():
    assert Spread.of(np.full((1000, 3), 0.1)).places.shape == (1000, 0)


def test_scores_that_share_it_find_it_once(monkeypatch):
    asked = []
    monkeypatch.setattr(Spread, "of", lambda features, of=Spread.of: asked.append(len(features)) or of(features))
    one = drawn(30)
    for name in ("h_score", "shrunk_h_score", "nleep"):
        SCORES[name](one)
    assert asked == [30]


def test_other_samples_have_their_own():
    one = drawn(30)
    assert one.spread is one.spread
    np.testing.assert_allclose(replace(one, features=2 * one.features).spread.variances, 4 * one.spread.variances)
