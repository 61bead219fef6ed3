"""The fused step against torch's ordinary one."""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, RMSprop

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


def trainer(**changes):
    return OmegaConf.create({"fused": "auto", "gradient_clip_val": None, "precision": "32-true"} | changes)


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
    quick, is_fused = fused(build, trainer(), True)
    assert is_fused and learning_rate(quick) == build.keywords["lr"]
    one, other = maps(layout), maps(layout)
    found = stepped(quick([{"params": [one]}]), one, 10, of_gradients)
    torch.testing.assert_close(found, stepped(build([other]), other, 10, of_gradients), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", KINDS)
def test_a_state_is_taken_up_by_weights_that_lie_otherwise_in_memory(build):
    quick, _ = fused(build, trainer(), True)
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
    for build in (partial(AdamW, lr=0.01), fused(partial(AdamW, lr=0.01), trainer(), True)[0]):
        parameter = nn.Parameter(torch.linspace(-1, 1, 50, dtype=dtype))
        optimizer = build([{"params": [parameter]}])
        for _ in range(5):
            parameter.grad = torch.sin(9 * parameter.detach())
            optimizer.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(
    ("build", "changes", "on_cpu", "expected"),
    [
        (partial(Adam, lr=1.0), {}, True, True),
        (partial(Adam, lr=1.0), {}, False, False),
        (partial(Adam, lr=1.0), {"fused": True}, False, True),
        (partial(Adam, lr=1.0), {"fused": False}, True, False),
        (partial(Adam, lr=1.0, foreach=True), {}, True, False),
        (partial(Adam, lr=1.0), {"gradient_clip_val": 1.0}, True, True),
        (partial(Adam, lr=1.0), {"gradient_clip_val": 1.0, "precision": "bf16-mixed"}, True, False),
        (partial(RMSprop, lr=1.0), {}, True, False),
        (LBFGS, {}, True, False),
    ],
)
def test_which_step_is_fused(build, changes, on_cpu, expected):
    found, is_fused = fused(build, trainer(**changes), on_cpu)
    assert is_fused is expected
    assert expected or found is build


@pytest.mark.parametrize(
    ("build", "changes", "sentence"),
    [
        (partial(Adam, lr=1.0), {"fused": "yes"}, "trainer.fused=yes: auto, true or false"),
        (partial(RMSprop, lr=1.0), {"fused": True}, "SGD, Adam, AdamW, Adagrad have such a step"),
        (
            partial(Adam, lr=1.0),
            {"fused": True, "gradient_clip_val": 1.0, "precision": "16-mixed"},
            "gradients cannot be clipped under mixed precision",
        ),
    ],
)
def test_what_cannot_be_fused_is_a_sentence(build, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        fused(build, trainer(**changes), True)
