from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from views import drawn, prepared, small_net, softmax, step

from transferlab.errors import InputError
from transferlab.losses.domains.fixmatch import FixMatch, fixmatch
from transferlab.losses.domains.pseudo_label import pseudo_label


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0, 1), st.integers(0, 99))
def test_it_is_the_cross_entropy_to_the_class_of_the_other_view_over_all_samples(count, classes, least, seed):
    weak, strong = 3 * drawn(count, classes, seed=seed), drawn(count, classes, seed=seed + 1)
    expected = 0.0
    for q, p in zip(map(softmax, weak.tolist()), map(softmax, strong.tolist()), strict=True):
        if max(q) >= least:
            expected -= log(p[q.index(max(q))]) / count
    assert fixmatch(weak, strong, least).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_its_gradient_is_right_and_the_weak_view_gets_none():
    weak, strong = 3 * drawn(5, 3), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fixmatch(weak, x, 0.5), strong)
    free = weak.clone().requires_grad_()
    assert torch.autograd.grad(fixmatch(free, strong, 0.5), free, allow_unused=True) == (None,)


def test_of_one_view_twice_it_is_the_pseudo_label():
    logits = drawn(5, 3)
    torch.testing.assert_close(fixmatch(logits, logits, 0.4), pseudo_label(logits, 0.4))


def test_where_none_is_sure_it_is_0_and_so_is_its_gradient():
    strong = drawn(4, 3).requires_grad_()
    value = fixmatch(torch.zeros(4, 3), strong, 0.5)
    value.backward()
    assert value.item() == 0 and not strong.grad.any()


def test_samples_that_are_not_sure_count_for_nothing_but_in_the_mean():
    weak = torch.tensor([[9.0, 0.0], [0.1, 0.0]])
    strong = drawn(2, 2).float()
    torch.testing.assert_close(fixmatch(weak, strong, 0.95), fixmatch(weak[:1], strong[:1], 0.95) / 2)


def test_the_loss_reads_two_views_of_the_target():
    net = small_net()
    loss, seen = prepared(FixMatch(1.0, 0.35), net), step(net)
    weak, strong = (seen.observed[name].outputs for name in ("unlabeled", "strong"))
    torch.testing.assert_close(loss(seen), fixmatch(weak, strong, 0.35))
    assert loss(seen) > 0
    del seen.observed["strong"]
    with pytest.raises(InputError, match="loss 'fixmatch' reads the domain 'strong'"):
        loss(seen)
    with pytest.raises(InputError, match=r"strategy.losses.fixmatch.threshold=-1: a number in \[0, 1\]"):
        FixMatch(1.0, -1)
