"""Task2Vec: the Fisher information of a model whose own is known, and the distance written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from transferlab.errors import InputError
from transferlab.transferability.task2vec import embed, task2vec_distance


def test_of_logistic_regression_it_is_known_in_closed_form():
    """d log p / dw_k = ([y = k] - p_k) x, of mean square p_k (1 - p_k) x^2; a filter has the mean of its weights."""
    torch.manual_seed(0)
    head = torch.nn.Linear(3, 4).double()
    x = torch.randn(6000, 3, dtype=torch.float64)
    p = head(x).softmax(1).detach()
    expected = torch.cat([(p * (1 - p)).T @ x.square() / len(x), (p * (1 - p)).mean(0)[:, None]], 1)
    found = embed((head(one) for one in x), [head.weight, head.bias])
    torch.testing.assert_close(found[:4], expected[:, :3].mean(1), rtol=0.08, atol=0)
    torch.testing.assert_close(found[4:], expected[:, 3], rtol=0.08, atol=0)


def test_a_convolutions_filters_are_one_number_each_and_it_is_the_same_each_time():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(20, 3))
    x = torch.randn(9, 1, 1, 4, 4)
    first, second = (embed((net(one) for one in x), [net[0].weight, net[3].weight]) for _ in range(2))
    assert first.shape == (5 + 3,) and (first >= 0).all() and torch.equal(first, second)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 20), seed=st.integers(0, 999))
def test_the_distance_is_the_papers_equation(size, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random(size) + 1e-3, rng.random(size) + 1e-3
    one = replace(drawn(), embedding=b, source_embedding=a)
    assert task2vec_distance(one) == pytest.approx(cosine(a / (a + b), b / (a + b)), abs=1e-12)


def test_filters_that_matter_to_neither_task_do_not_matter():
    one = drawn()
    padded = replace(one, **{name: np.pad(getattr(one, name), 2) for name in ("embedding", "source_embedding")})
    assert task2vec_distance(padded) == pytest.approx(task2vec_distance(one))


def test_tasks_that_share_no_filter_are_at_1():
    assert task2vec_distance(replace(drawn(), embedding=[0.0, 2.0], source_embedding=[3.0, 0.0])) == 1


@pytest.mark.parametrize("spoilt", [[0.0, 0.0], [1.0, -1.0]])
def test_what_is_no_fisher_information_is_a_sentence(spoilt):
    with pytest.raises(InputError, match="reads Fisher information, 0 or more and somewhere above"):
        task2vec_distance(replace(drawn(), embedding=spoilt, source_embedding=[1.0, 1.0]))


def test_no_samples_are_a_sentence():
    with pytest.raises(InputError, match="reads samples of the task, and there are none"):
        embed([], [torch.ones(2, 2, requires_grad=True)])
