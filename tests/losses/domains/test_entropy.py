from math import exp, log

import pytest
import scipy.stats
import torch
from both_sides import MANY, assert_the_net_learns, drawn, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.entropy import Entropy, entropy


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
def test_it_is_the_mean_entropy_written_out(count, classes, seed):
    logits = 3 * drawn(count, classes, seed=seed)
    expected = 0.0
    for row in logits.tolist():
        total = sum(exp(v) for v in row)
        expected -= sum(exp(v) / total * log(exp(v) / total) for v in row) / count
    assert entropy(logits).item() == pytest.approx(expected, rel=1e-6)


def test_it_is_scipys():
    logits = drawn(5, 4)
    expected = scipy.stats.entropy(logits.softmax(1).numpy(), axis=1).mean()
    assert entropy(logits).item() == pytest.approx(expected)


def test_its_gradient_is_right():
    assert torch.autograd.gradcheck(entropy, drawn(4, 3).requires_grad_())


def test_it_is_0_where_all_are_sure_and_log_c_where_none_is():
    sure = (torch.eye(3) * 1e3).requires_grad_()
    entropy(sure).backward()
    assert entropy(sure).item() == 0 and sure.grad.isfinite().all()
    assert entropy(torch.zeros(4, 3)).item() == pytest.approx(log(3))


def test_the_loss_reads_the_target_alone():
    net = small_net()
    loss = prepared(Entropy(0.1), net)
    seen = step(net, loss)
    assert set(seen.observed) == {"unlabeled"}
    torch.testing.assert_close(loss(seen), entropy(seen.observed["unlabeled"].outputs))
    assert_the_net_learns(net, loss(seen))
    with pytest.raises(InputError, match=r"'entropy' .*task=classification"):
        Entropy(0.1).prepare(setting(net, MANY))
