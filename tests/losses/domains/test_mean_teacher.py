import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from views import drawn, prepared, small_net, softmax, step

from transferlab.errors import InputError
from transferlab.losses.domains.mean_teacher import MeanTeacher, mean_teacher


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0, 1), st.integers(0, 99))
def test_it_is_the_squared_difference_of_probabilities_where_the_teacher_is_sure(count, classes, least, seed):
    teacher, student = 3 * drawn(count, classes, seed=seed), drawn(count, classes, seed=seed + 1)
    expected = 0.0
    for q, p in zip(map(softmax, teacher.tolist()), map(softmax, student.tolist()), strict=True):
        if max(q) > least:
            expected += sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / classes / count
    assert mean_teacher(teacher, student, least).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_its_gradient_is_right_and_the_teacher_gets_none():
    teacher, student = 3 * drawn(5, 3), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mean_teacher(teacher, x, 0.5), student)
    free = teacher.clone().requires_grad_()
    assert torch.autograd.grad(mean_teacher(free, student, 0.5), free, allow_unused=True) == (None,)


def test_it_is_0_where_both_agree_and_2_by_c_where_they_are_sure_of_other_classes():
    logits = 100 * torch.eye(4)
    assert mean_teacher(logits, logits, 0.9) == 0
    assert mean_teacher(logits, logits.roll(1, 0), 0.9).item() == pytest.approx(2 / 4)
    assert mean_teacher(torch.zeros(2, 2), drawn(2, 2).float(), 0.5) == 0


def moved(net, seed):
    """Other weights, as a step of training leaves them."""
    with torch.no_grad():
        for number, tensor in enumerate(state(net)):
            if tensor.is_floating_point():
                tensor += 0.1 * drawn(*tensor.shape, seed=seed + number).to(tensor).abs()
            else:
                tensor += 1


def state(net):
    return [tensor for part in net for tensor in (*part.parameters(), *part.buffers())]


@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99, 1.0])
def test_the_teacher_is_the_average_of_the_nets_of_each_step(decay):
    net = small_net()
    loss = prepared(MeanTeacher(3.0, decay, 0.0), net)
    expected = [tensor.double() for tensor in copy.deepcopy(state(net))]
    for t in range(5):
        moved(net, seed=10 * t)
        seen = step(net)  # which moves statistics too
        now = [tensor.detach().double().clone() for tensor in state(net)]
        loss(seen)
        d = min(decay, t / (t + 1))
        expected = [d * a + (1 - d) * w for a, w in zip(expected, now, strict=True)]
    for found, average, own in zip(
        state((loss.teacher.backbone, loss.teacher.head)), expected, state(net), strict=True
    ):
        if own.is_floating_point():
            torch.testing.assert_close(found.double(), average, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(found, own)


def test_the_first_step_asks_the_net_itself_and_later_ones_what_was_there_before():
    net = small_net()
    loss = prepared(MeanTeacher(3.0, 0.9, 0.0), net)
    seen = step(net)
    for part in net:
        part.eval()
    target = net[1](net[0](seen.observed["unlabeled"].x))
    torch.testing.assert_close(loss(seen), mean_teacher(target, seen.observed["strong"].outputs, 0.0))
    moved(net, 3)
    assert loss(seen) != mean_teacher(
        net[1](net[0](seen.observed["unlabeled"].x)), seen.observed["strong"].outputs, 0.0
    )


@pytest.mark.parametrize("look", ["evaluation", "without gradients"])
def test_a_look_does_not_move_the_teacher(look):
    net = small_net()
    loss = prepared(MeanTeacher(3.0, 0.9, 0.0), net)
    loss(step(net))
    moved(net, 5)
    before = copy.deepcopy(loss.state_dict())
    seen = step(net)
    loss.train(look != "evaluation")
    with torch.set_grad_enabled(look == "evaluation"):
        loss(seen)
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_the_teacher_never_trains_and_is_in_the_state_dict():
    net = small_net()
    loss = prepared(MeanTeacher(3.0, 0.9, 0.0), net)
    loss.train()
    assert not any(part.training for part in loss.teacher.modules())
    seen = step(net)
    loss(seen).backward()
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
    assert seen.observed["unlabeled"].features.grad is None
    assert seen.observed["strong"].features.grad.abs().sum() > 0
    other = prepared(MeanTeacher(3.0, 0.9, 0.0), small_net(1))
    other.load_state_dict(loss.state_dict())
    moved(net, 7)
    seen = step(net)
    assert torch.equal(other(seen), loss(seen))  # the count of steps is there too


@pytest.mark.parametrize(("name", "numbers"), [("decay", (1.1, 0.5)), ("threshold", (0.9, -0.1))])
def test_a_number_that_is_no_share_is_refused(name, numbers):
    with pytest.raises(InputError, match=rf"strategy.losses.mean_teacher.{name}="):
        MeanTeacher(1.0, *numbers)
