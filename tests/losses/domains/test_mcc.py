from math import exp, log

import pytest
import torch
from both_sides import MANY, assert_the_net_learns, drawn, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.mcc import MCC, certainty, class_correlation, mcc


def softmax(row, temperature):
    powers = [exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def weights(shares):
    """B (1 + e^-H) over their sum."""
    found = [1 + exp(sum(p * log(p) for p in row)) for row in shares]
    return [len(shares) * w / sum(found) for w in found]


def correlation(shares, weights):
    """C x C, divided by the sums of its rows."""
    classes = range(len(shares[0]))
    found = [
        [sum(w * row[j] * row[k] for w, row in zip(weights, shares, strict=True)) for k in classes] for j in classes
    ]
    return [[value / sum(row) for value in row] for row in found]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0.5, 4), st.integers(0, 99))
def test_it_is_the_papers_confusion_written_out(count, classes, temperature, seed):
    logits = 3 * drawn(count, classes, seed=seed)
    shares = [softmax(row, temperature) for row in logits.tolist()]
    w = weights(shares)
    matrix = correlation(shares, w)
    expected = sum(matrix[j][k] for j in range(classes) for k in range(classes) if j != k) / classes
    counted = certainty(logits, temperature)
    assert counted.tolist() == pytest.approx(w, rel=1e-6)
    assert mcc(logits, counted, temperature).item() == pytest.approx(expected, rel=1e-6)
    found = class_correlation(logits, counted, temperature)
    torch.testing.assert_close(found, torch.tensor(matrix, dtype=torch.float64), rtol=1e-6, atol=1e-9)
    assert found.sum(1).tolist() == pytest.approx([1] * classes)


def test_its_gradient_is_right():
    counted = certainty(drawn(4, 3), 2.5)
    assert torch.autograd.gradcheck(lambda logits: mcc(logits, counted, 2.5), drawn(4, 3).requires_grad_())
    assert not certainty(drawn(4, 3).requires_grad_(), 2.5).requires_grad


def test_it_is_0_where_all_are_sure_and_1_less_a_class_where_none_is():
    sure = torch.eye(3).repeat(2, 1) * 1e3
    assert mcc(sure, certainty(sure, 1.0), 1.0).item() == 0
    unsure = torch.zeros(5, 3)
    assert mcc(unsure, certainty(unsure, 1.0), 1.0).item() == pytest.approx(1 - 1 / 3)


def test_sure_samples_count_more_and_the_mean_weight_is_1():
    w = certainty(torch.tensor([[9.0, 0.0], [0.0, 0.0]]), 1.0)
    assert w[0] > w[1] and w.mean().item() == pytest.approx(1)


def test_a_class_that_is_never_predicted_leaves_value_and_gradient_finite():
    """In float32 its probability is 0, and so are row and sum of the correlation."""
    logits = torch.tensor([[0.0, 1.0, -500.0], [1.0, 0.0, -500.0]], requires_grad=True)
    assert (logits.softmax(1)[:, 2] == 0).all()
    value = mcc(logits, certainty(logits, 1.0), 1.0)
    value.backward()
    assert 0 <= value <= 1 and logits.grad.isfinite().all()


def test_float32_keeps_a_small_confusion():
    logits = 25 * torch.eye(3, dtype=torch.float64) + drawn(3, 3)
    exact = mcc(logits, certainty(logits, 1.0), 1.0).item()
    single = logits.float()
    assert exact < 1e-8
    assert mcc(single, certainty(single, 1.0), 1.0).item() == pytest.approx(exact, rel=1e-4)


def test_the_loss_reads_the_target_alone():
    net = small_net()
    loss = prepared(MCC(1.0, 2.5), net)
    seen = step(net, loss)
    assert set(seen.observed) == {"unlabeled"}
    logits = seen.observed["unlabeled"].outputs
    torch.testing.assert_close(loss(seen), mcc(logits, certainty(logits, 2.5), 2.5))
    assert_the_net_learns(net, loss(seen))


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match=r"mcc\.temperature=0.0: a number above 0"):
        MCC(1.0, 0.0)
    with pytest.raises(InputError, match=r"'mcc' .*task=classification"):
        MCC(1.0, 2.5).prepare(setting(small_net(), MANY))
