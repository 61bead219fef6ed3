from math import log, sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from views import CLASSES, drawn, images, prepared, small_net, softmax, step, study

from transferlab.errors import InputError
from transferlab.losses.domains.shot import SHOT, centroids, information_maximisation, nearest, shot


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0, 1), st.integers(0, 99))
def test_it_is_entropy_less_diversity_plus_beta_times_the_cross_entropy(count, classes, beta, seed):
    logits = 3 * drawn(count, classes, seed=seed)
    labels = torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))
    rows = [softmax(row) for row in logits.tolist()]
    mean = [sum(row[c] for row in rows) / count for c in range(classes)]
    expected = sum(p * log(p) for p in mean)
    for row, label in zip(rows, labels.tolist(), strict=True):
        expected -= (sum(p * log(p) for p in row) + beta * log(row[label])) / count
    assert shot(logits, labels, beta).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_its_gradient_is_right():
    labels = torch.tensor([0, 2, 1, 1])
    assert torch.autograd.gradcheck(lambda x: shot(x, labels, 0.3), drawn(4, 3).requires_grad_())


def test_information_is_least_where_all_are_sure_of_all_classes_alike():
    sure = (100 * torch.eye(3)).requires_grad_()
    assert information_maximisation(sure).item() == pytest.approx(-log(3))
    information_maximisation(sure).backward()
    assert sure.grad.isfinite().all()
    for alike in (torch.zeros(3, 3), 100 * torch.eye(3)[:1].expand(3, 3)):
        assert information_maximisation(alike).item() == pytest.approx(0, abs=1e-6)


def cosine(a, b):
    lengths = [sqrt(sum(x * x for x in v)) for v in (a, b)]
    return sum(x * y for x, y in zip(a, b, strict=True)) / (lengths[0] * lengths[1]) if all(lengths) else 0.0


def naive_centres(features, shares, labels, classes):
    """Of each class that some sample has."""
    found = {}
    for c in sorted(set(labels)):
        total = sum(row[c] for row in shares)
        found[c] = [
            sum(row[c] * f[k] for row, f in zip(shares, features, strict=True)) / total for k in range(len(features[0]))
        ]
    return found


def naive_labels(features, centres):
    return [max(centres, key=lambda c: cosine(f, centres[c])) for f in features]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(2, 5), st.integers(2, 4), st.integers(0, 99))
def test_centres_are_found_in_two_rounds(count, classes, length, seed):
    features, logits = drawn(count, length, seed=seed), 2 * drawn(count, classes, seed=seed + 1)
    listed, shares = features.tolist(), [softmax(row) for row in logits.tolist()]
    labels = [row.index(max(row)) for row in shares]
    first = naive_centres(listed, shares, labels, classes)
    labels = naive_labels(listed, first)
    second = naive_centres(listed, [[float(c == label) for c in range(classes)] for label in labels], labels, classes)
    centres, there = centroids(features, logits)
    assert [c for c in range(classes) if there[c]] == sorted(second)
    for c, centre in second.items():
        assert centres[c].tolist() == pytest.approx(centre, rel=1e-9, abs=1e-12)
    assert nearest(features, centres, there).tolist() == naive_labels(listed, second)


def test_a_sample_that_the_head_gets_wrong_is_labelled_by_its_neighbours():
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [1.0, 0.1], [0.0, 1.0], [0.1, 0.9]])
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 0.4], [0.0, 3.0], [0.0, 3.0]])  # the third is wrong
    assert nearest(features, *centroids(features, logits)).tolist() == [0, 0, 0, 1, 1]
    # nor does the length of a feature matter
    assert nearest(7 * features, *centroids(features, logits)).tolist() == [0, 0, 0, 1, 1]


def test_a_class_that_no_sample_has_labels_none():
    features, logits = drawn(6, 4), torch.cat([drawn(6, 2, seed=1), torch.full((6, 1), -1e4)], 1)
    centres, there = centroids(features, logits)
    assert not there[2] and centres.isfinite().all()
    assert (nearest(features, centres, there) < 2).all()


def test_the_loss_labels_a_batch_by_the_centres_of_its_last_study():
    net = small_net()
    loss, x = prepared(SHOT(1.0, 0.3), net), images(7, 2)
    assert loss.reads == loss.restudies == {"unlabeled"} and not loss.studies
    net[0].eval()
    loss.study(study(net, x))
    features = net[0](x)
    centres, there = centroids(features, net[1](features))
    torch.testing.assert_close(loss.centres, centres)
    assert torch.equal(loss.there, there)
    net[0].train()
    seen = step(net)
    target = seen.observed["unlabeled"]
    labels = nearest(target.features.detach(), centres, there)
    value = loss(seen)
    torch.testing.assert_close(
        value, information_maximisation(target.outputs) + 0.3 * F.cross_entropy(target.outputs, labels)
    )
    value.backward()
    assert target.features.grad.abs().sum() > 0


def test_another_study_begins_from_scratch_and_the_centres_are_in_the_state_dict():
    net = small_net()
    net[0].eval()
    loss, other = prepared(SHOT(1.0, 0.3), net), prepared(SHOT(1.0, 0.3), net)
    loss.study(study(net, images(9, 5)))
    loss.study(study(net, images(7, 2)))
    other.study(study(net, images(7, 2)))
    assert torch.equal(loss.centres, other.centres) and torch.equal(loss.there, other.there)
    assert {key: tuple(value.shape) for key, value in loss.state_dict().items()} == {
        "centres": (CLASSES, 4),
        "there": (CLASSES,),
    }


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SHOT(1.0, -0.1), "strategy.losses.shot.beta=-0.1: a number from 0 on"),
        (lambda: prepared(SHOT(1.0, 0.3), small_net(), head_from_source=False), "loss 'shot' .*strategy.head=source"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
