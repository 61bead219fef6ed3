"""The fused step against torch's ordinary one."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

from transferlab import cli
from transferlab.errors import InputError
from transferlab.fusing import fused
from transferlab.optim import learning_rate

KINDS = [
    partial(SGD, lr=0.1),
    partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    partial(Adam, lr=0.01, weight_decay=0.1),
    partial(AdamW, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
    partial(Adagrad, lr=0.1),
]
LAST, FIRST = torch.channels_last, torch.contiguous_format


def maps(layout):
    return nn.Parameter(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)).to(memory_format=layout))


def stepped(optimizer, parameter, steps, layout):
    """Some steps along gradients that are drawn, and lie as they like."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=draw).to(memory_format=layout)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("layout", [FIRST, LAST])
@pytest.mark.parametrize("of_gradients", [FIRST, LAST])
@pytest.mark.parametrize("build", KINDS)
def test_it_is_the_ordinary_step_to_round_off_however_gradients_lie_in_memory(build, layout, of_gradients):
    quick, is_fused = fused(build, "auto", True, False)
    assert is_fused and learning_rate(quick) == build.keywords["lr"]
    one, other = maps(layout), maps(layout)
    found = stepped(quick([{"params": [one]}]), one, 10, of_gradients)
    torch.testing.assert_close(found, stepped(build([other]), other, 10, of_gradients), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", KINDS)
def test_a_state_is_taken_up_by_weights_that_lie_otherwise_in_memory(build):
    quick, _ = fused(build, "auto", True, False)
    whole, first = maps(LAST), maps(FIRST)
    before = build([whole])
    stepped(before, whole, 3, FIRST)
    begun = quick([{"params": [first]}])
    stepped(begun, first, 3, FIRST)
    second = nn.Parameter(first.detach().to(memory_format=LAST))
    resumed = quick([{"params": [second]}])
    resumed.load_state_dict(begun.state_dict())
    found, expected = stepped(resumed, second, 5, LAST), stepped(before, whole, 5, FIRST)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    ends = []
    for build in (partial(AdamW, lr=0.01), fused(partial(AdamW, lr=0.01), "auto", True, False)[0]):
        parameter = nn.Parameter(torch.linspace(-1, 1, 50, dtype=dtype))
        optimizer = build([{"params": [parameter]}])
        for _ in range(5):
            parameter.grad = torch.sin(9 * parameter.detach())
            optimizer.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends)


def test_a_momentum_that_begins_later_than_others_of_its_group_is_as_without():
    ends = []
    for chosen in (True, False):
        build, _ = fused(partial(SGD, lr=0.1, momentum=0.9, nesterov=True), chosen, True, False)
        one, other, third = maps(FIRST), maps(LAST), maps(FIRST).requires_grad_(False)
        optimizer = build([{"params": [one, other, third]}])
        for step in range(6):
            third.requires_grad_(step > 3)
            for number, parameter in enumerate((one, other, third)):
                parameter.grad = torch.full_like(parameter, number + step) if step >= 2 * number else None
            optimizer.step()
        ends.append([one.detach(), other.detach(), third.detach()])
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("build", KINDS)
def test_a_checkpoint_goes_on_with_the_other_step_in_another_layout(build, first):
    (one, _), (other, _) = (fused(build, chosen, True, False) for chosen in (first, not first))
    whole, begun = maps(LAST), maps(FIRST)
    before, begins = build([whole]), one([{"params": [begun]}])
    stepped(before, whole, 3, FIRST)
    stepped(begins, begun, 3, FIRST)
    second = nn.Parameter(begun.detach().to(memory_format=LAST))
    resumed = other([{"params": [second]}])
    resumed.load_state_dict(begins.state_dict())
    assert bool(resumed.param_groups[0]["fused"]) is not first
    found, expected = stepped(resumed, second, 5, LAST), stepped(before, whole, 5, FIRST)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_slice_of_a_larger_tensor_alone_takes_the_step():
    build, _ = fused(partial(SGD, lr=1.0), "auto", True, False)
    whole = torch.zeros(4, 5)
    parameter = nn.Parameter(whole[:, :3])
    optimizer = build([{"params": [parameter]}])
    parameter.grad = torch.ones(4, 3)
    optimizer.step()
    assert (whole[:, :3] == -1).all() and (whole[:, 3:] == 0).all()


ADAM, SGDS = partial(Adam, lr=1.0), partial(SGD, lr=1.0, momentum=0.9)


@pytest.mark.parametrize(
    ("build", "chosen", "on_cpu", "unscales", "expected"),
    [
        (ADAM, "auto", True, False, True),
        (ADAM, "auto", False, False, False),
        (ADAM, True, False, False, True),
        (ADAM, False, True, False, False),
        (partial(ADAM, foreach=True), "auto", True, False, False),
        (partial(SGDS, dampening=0.1), "auto", True, False, False),
        (ADAM, "auto", True, True, False),
        (partial(RMSprop, lr=1.0), "auto", True, False, False),
        (LBFGS, "auto", True, False, False),
    ],
)
def test_which_step_is_fused(build, chosen, on_cpu, unscales, expected):
    found, is_fused = fused(build, chosen, on_cpu, unscales)
    assert is_fused is expected
    if build is not LBFGS:
        (group,) = found([{"params": [maps(FIRST)]}]).param_groups
        assert bool(group.get("fused")) is expected


@pytest.mark.parametrize(
    ("build", "chosen", "sentence"),
    [
        (ADAM, "yes", "trainer.fused=yes: auto, true or false"),
        (partial(RMSprop, lr=1.0), True, "SGD, Adam, AdamW, Adagrad have such a step"),
        (ADAM, True, "gradients cannot be clipped under mixed precision"),
        (partial(SGDS, dampening=0.1), True, "gradients cannot be clipped under mixed precision"),
    ],
)
def test_what_cannot_be_fused_is_a_sentence(build, chosen, sentence):
    with pytest.raises(InputError, match=sentence):
        fused(build, chosen, True, True)


def test_dampening_is_not_fused():
    with pytest.raises(InputError, match=r"not with optimizer\.dampening"):
        fused(partial(SGDS, dampening=0.1), True, True, False)


@pytest.mark.slow
def test_gradients_are_clipped_under_mixed_precision_by_any_of_its_names(tmp_path):
    words = ["source=none", "strategy=scratch", "target=digits", "target.labels=4", "trainer.max_epochs=1"]
    words += ["trainer.precision=bf16", "trainer.gradient_clip_val=1", "trainer.accelerator=cpu", "tracker=none"]
    assert cli.main(["train", *words, f"paths.runs={tmp_path}", f"paths.cache={tmp_path}/cache"]) == 0
